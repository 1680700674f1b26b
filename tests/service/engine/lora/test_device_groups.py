from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engine.lora.device_groups import Capacity, DeviceGroups, RowSpan

CPU = torch.device("cpu")
Entries = list[tuple[int, int, float]]


def expected_entries(spans: Sequence[RowSpan]) -> dict[int, list[tuple[int, float]]]:
    return {
        row: list(zip(span.slots, span.scales, strict=True))
        for span in spans
        if span.slots
        for row in range(span.start, span.start + span.count)
    }


def entries_of_tiles(groups: DeviceGroups) -> dict[int, tuple[int, int, float]]:
    found = {}
    for slot, first, count in groups.tiles_T3[: groups.num_tiles].tolist():
        assert count <= groups.capacity.block_m
        for entry in range(first, first + count):
            assert entry not in found
            found[entry] = (int(groups.entry_rows_E[entry]), slot, float(groups.entry_scales_E[entry]))
    return found


def entries_of_row_tiles(groups: DeviceGroups) -> dict[int, list[tuple[int, float]]]:
    by_entry = entries_of_tiles(groups)
    found: dict[int, list[tuple[int, float]]] = {}
    for first, count, num_slots, *slots in groups.row_tiles_LF[: groups.num_row_tiles].tolist():
        assert count <= groups.capacity.block_m
        for at in range(first, first + count):
            row = int(groups.rows_N[at])
            assert row not in found
            found[row] = []
            for nth in range(num_slots):
                entry_row, slot, scale = by_entry[int(groups.row_entries_KN[nth, at])]
                assert (entry_row, slot) == (row, slots[nth])
                found[row].append((slot, scale))
    return found


@st.composite
def steps(draw: st.DrawFn) -> list[RowSpan]:
    adapters = st.lists(st.integers(0, 3), max_size=3, unique=True)
    spans, start = [], 0
    for _ in range(draw(st.integers(0, 12))):
        slots, count = tuple(draw(adapters)), draw(st.integers(1, 9))
        scales = tuple(draw(st.sampled_from([0.5, 1.0, -2.0])) for _ in slots)
        spans.append(RowSpan(start=start, count=count, slots=slots, scales=scales))
        start += count
    return draw(st.permutations(spans))


@given(steps(), st.booleans(), st.sampled_from([1, 4, 16]))
def test_every_entry_lies_in_one_tile_of_its_slot_and_every_row_in_one_row_tile(
    spans: list[RowSpan], static_grid: bool, block_m: int
) -> None:
    capacity = Capacity(rows=108, slots=4, adapters_per_row=3, block_m=block_m)
    groups = DeviceGroups(capacity, CPU, static_grid=static_grid)
    groups.fill(spans)
    assert entries_of_row_tiles(groups) == expected_entries(spans)


@given(steps(), st.sampled_from([1, 4, 16]))
def test_the_tightest_capacity_that_holds_a_step_has_room_for_its_tiles(spans: list[RowSpan], block_m: int) -> None:
    adapted = [span for span in spans if span.slots]
    capacity = Capacity(
        rows=sum(span.count for span in adapted),
        slots=len({slot for span in adapted for slot in span.slots}),
        adapters_per_row=max((len(span.slots) for span in adapted), default=1),
        combinations=len({span.slots for span in adapted}),
        block_m=block_m,
    )
    assert capacity.holds(spans)
    groups = DeviceGroups(capacity, CPU, static_grid=True)
    groups.fill(spans)
    assert entries_of_row_tiles(groups) == expected_entries(spans)


def test_refilling_moves_no_tensor_and_leaves_no_old_tile() -> None:
    groups = DeviceGroups(Capacity(rows=64, slots=4), CPU, static_grid=True)
    tensors = (groups.tiles_T3, groups.row_tiles_LF, groups.entry_rows_E, groups.entry_scales_E, groups.row_entries_KN)
    addresses = [tensor.data_ptr() for tensor in tensors]
    groups.fill([RowSpan(start=8 * slot, count=8, slots=(slot,), scales=(1.0,)) for slot in range(4)])
    assert len(entries_of_tiles(groups)) == 32
    groups.fill([RowSpan(start=3, count=1, slots=(2,), scales=(0.5,))])
    assert list(entries_of_tiles(groups).values()) == [(3, 2, 0.5)]
    assert entries_of_row_tiles(groups) == {3: [(2, 0.5)]}
    assert [tensor.data_ptr() for tensor in tensors] == addresses


def test_a_static_grid_is_the_capacity_and_another_the_steps_own() -> None:
    capacity, spans = Capacity(rows=64, slots=4), [RowSpan(start=0, count=17, slots=(1,), scales=(1.0,))]
    static, exact = (DeviceGroups(capacity, CPU, static_grid=static_grid) for static_grid in (True, False))
    assert (exact.num_tiles, exact.num_row_tiles) == (0, 0)
    for groups in (static, exact):
        groups.fill(spans)
    assert (static.num_tiles, static.num_row_tiles) == (8, 8)
    assert (exact.num_tiles, exact.num_row_tiles) == (2, 2)


def test_rows_of_equal_adapters_share_tiles_wherever_they_stand() -> None:
    groups = DeviceGroups(Capacity(rows=64, slots=4), CPU, static_grid=False)
    groups.fill([RowSpan(start=row, count=1, slots=(row % 2,), scales=(1.0,)) for row in range(8)])
    assert groups.tiles_T3[:2].tolist() == [[0, 0, 4], [1, 4, 4]]
    assert groups.entry_rows_E[:8].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_sections_begin_where_kernels_load_widely() -> None:
    groups = DeviceGroups(Capacity(rows=7, slots=3, adapters_per_row=3), CPU, static_grid=True)
    tensors = (groups.tiles_T3, groups.row_tiles_LF, groups.entry_rows_E, groups.entry_scales_E, groups.row_entries_KN)
    assert {(tensor.data_ptr() - groups.entry_rows_E.data_ptr()) % 128 for tensor in tensors} == {0}


@pytest.mark.parametrize(
    ("capacity", "holds"),
    [
        (Capacity(rows=6, slots=3, adapters_per_row=2), True),
        (Capacity(rows=6, slots=3, adapters_per_row=2, combinations=2), True),
        (Capacity(rows=5, slots=3, adapters_per_row=2), False),
        (Capacity(rows=6, slots=2, adapters_per_row=2), False),
        (Capacity(rows=6, slots=3, adapters_per_row=1), False),
        (Capacity(rows=6, slots=3, adapters_per_row=2, combinations=1), False),
    ],
)
def test_a_capacity_knows_what_it_holds(capacity: Capacity, holds: bool) -> None:
    spans = [
        RowSpan(start=0, count=4, slots=(0, 2), scales=(1.0, 1.0)),
        RowSpan(start=4, count=100),
        RowSpan(start=104, count=2, slots=(1,), scales=(1.0,)),
    ]
    assert capacity.holds(spans) is holds
