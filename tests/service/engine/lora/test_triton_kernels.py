import os
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from service.engine.lora.device_groups import Capacity, DeviceGroups, RowSpan
from service.engine.lora.triton_kernels import expand_add, shrink

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not INTERPRETED and not torch.cuda.is_available(), reason="runs on CUDA, or interpreted in a process of its own"
    ),
]

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Of the largest value."""
NUM_SLOTS = 5
MIXED = (
    RowSpan(start=0, count=20, slots=(1,), scales=(1.0,)),
    RowSpan(start=20, count=2),
    RowSpan(start=22, count=1, slots=(3, 1, 0), scales=(0.5, 2.0, 1.0)),
    RowSpan(start=23, count=1, slots=(1,), scales=(-1.0,)),
    RowSpan(start=24, count=3, slots=(0, 3), scales=(1.0, 0.25)),
    RowSpan(start=30, count=1, slots=(4,), scales=(1.0,)),
)
"""Rows 27 to 29 and 31 are no sequence's, slot 2 is empty, slot 1 has more rows than a small tile."""
NUM_ROWS = 32

Pieces = tuple[tuple[int, ...], int]
"""The part of each piece, and how many columns each of them has."""


@dataclass(frozen=True)
class Stack:
    a_SIR: Tensor
    b_SPWF: Tensor
    parts_P: Tensor
    ranks_SN: Tensor

    @property
    def width(self) -> int:
        return self.b_SPWF.shape[2]

    @property
    def num_columns(self) -> int:
        return self.b_SPWF.shape[1] * self.b_SPWF.shape[3]


def random_stack(num_inputs: int, width: int, pieces: Pieces, ranks_SN: Tensor, dtype: torch.dtype) -> Stack:
    (parts, size), num_parts = pieces, ranks_SN.shape[1]
    a_SIR = torch.randn(NUM_SLOTS, num_inputs, width * num_parts) / num_inputs**0.5
    b_SPWF = torch.randn(NUM_SLOTS, len(parts), width, size) / width**0.5
    # What lies beyond the active rank must not count, whatever it is.
    for slot in range(NUM_SLOTS):
        for part, rank in enumerate(ranks_SN[slot].tolist()):
            a_SIR[slot, :, part * width + rank : (part + 1) * width] = torch.nan
        for piece, part in enumerate(parts):
            b_SPWF[slot, piece, int(ranks_SN[slot, part]) :] = torch.nan
    indices = (torch.tensor(parts), ranks_SN)
    return Stack(a_SIR.to(DEVICE, dtype), b_SPWF.to(DEVICE, dtype), *(each.to(DEVICE, torch.int32) for each in indices))


def full_ranks(width: int, num_parts: int = 1) -> Tensor:
    return torch.full((NUM_SLOTS, num_parts), width)


def reference(x_TI: Tensor, stack: Stack, spans: Sequence[RowSpan], out_TO: Tensor) -> Tensor:
    expected = out_TO.double()
    size = stack.b_SPWF.shape[3]
    for span in spans:
        rows = slice(span.start, span.start + span.count)
        for slot, scale in zip(span.slots, span.scales, strict=True):
            for piece, part in enumerate(stack.parts_P.tolist()):
                first, rank = part * stack.width, int(stack.ranks_SN[slot, part])
                low = x_TI[rows].double() @ stack.a_SIR[slot, :, first : first + rank].double()
                delta = low @ stack.b_SPWF[slot, piece, :rank].double()
                expected[rows, piece * size : (piece + 1) * size] += scale * delta
    return expected


def apply(x_TI: Tensor, stack: Stack, groups: DeviceGroups, out_TO: Tensor) -> None:
    low_KER = shrink(x_TI, stack.a_SIR, stack.ranks_SN, groups)
    expand_add(low_KER, stack.b_SPWF, stack.parts_P, stack.ranks_SN, groups, out_TO)


def filled(spans: Sequence[RowSpan], *, block_m: int = 16, static_grid: bool = True) -> DeviceGroups:
    capacity = Capacity(rows=NUM_ROWS, slots=NUM_SLOTS, adapters_per_row=3, block_m=block_m)
    groups = DeviceGroups(capacity, DEVICE, static_grid=static_grid)
    groups.fill(spans)
    return groups


def random_rows(num_columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(NUM_ROWS, num_columns).to(DEVICE, dtype)


def assert_close(found: Tensor, expected: Tensor) -> None:
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[found.dtype]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("block_m", [16, 64])
@pytest.mark.parametrize("static_grid", [True, False])
def test_a_mixed_step_gets_the_sum_of_each_rows_adapters(dtype: torch.dtype, block_m: int, static_grid: bool) -> None:
    ranks = torch.tensor([[16, 3], [8, 16], [16, 16], [0, 5], [1, 0]])
    stack = random_stack(100, 16, ((0, 0, 1), 70), ranks, dtype)
    x_TI, out_TO = random_rows(100, dtype), random_rows(stack.num_columns, dtype)
    expected = reference(x_TI, stack, MIXED, out_TO)
    apply(x_TI, stack, filled(MIXED, block_m=block_m, static_grid=static_grid), out_TO)
    assert_close(out_TO, expected)


@pytest.mark.parametrize(("width", "block_m"), [(8, 16), (24, 64), (64, 16), (64, 64)])
def test_only_the_active_ranks_count_whatever_they_are(width: int, block_m: int) -> None:
    for rank in {1, 7, 8, 9, 17, 33, 63, width}:
        if rank <= width:
            ranks = torch.tensor([[rank, 1], [width, rank], [0, 0], [rank, rank], [width, 0]])
            stack = random_stack(24, width, ((0, 1), 20), ranks, torch.float32)
            x_TI, out_TO = random_rows(24), random_rows(40)
            expected = reference(x_TI, stack, MIXED, out_TO)
            apply(x_TI, stack, filled(MIXED, block_m=block_m), out_TO)
            assert_close(out_TO, expected)


@pytest.mark.parametrize(
    ("width", "pieces"),
    [(8, ((0,), 16)), (8, ((0, 0, 1, 2), 9)), (16, ((0, 1), 130)), (64, ((0, 0, 0, 1, 2), 40))],
)
def test_pieces_of_any_size_and_number_take_their_parts_ranks(width: int, pieces: Pieces) -> None:
    stack = random_stack(40, width, pieces, full_ranks(width, max(pieces[0]) + 1), torch.float32)
    x_TI, out_TO = random_rows(40), random_rows(stack.num_columns)
    expected = reference(x_TI, stack, MIXED, out_TO)
    apply(x_TI, stack, filled(MIXED), out_TO)
    assert_close(out_TO, expected)


@pytest.mark.parametrize("num_inputs", [511, 1024, 1100, 4200])
@pytest.mark.parametrize("block_m", [16, 64])
def test_long_inputs_are_summed_in_parts(num_inputs: int, block_m: int) -> None:
    stack = random_stack(num_inputs, 8, ((0,), 24), full_ranks(8), torch.float32)
    x_TI, out_TO = random_rows(num_inputs), random_rows(24)
    expected = reference(x_TI, stack, MIXED, out_TO)
    groups = filled(MIXED, block_m=block_m)
    num_splits = len(shrink(x_TI, stack.a_SIR, stack.ranks_SN, groups))
    assert num_splits == (1 if block_m == 64 else {511: 1, 1024: 2, 1100: 2, 4200: 8}[num_inputs])
    apply(x_TI, stack, groups, out_TO)
    assert_close(out_TO, expected)


def test_rows_without_an_adapter_and_other_columns_keep_their_bits() -> None:
    stack = random_stack(40, 16, ((0,), 21), full_ranks(16), torch.bfloat16)
    x_TI, wide_TX = random_rows(40, torch.bfloat16), random_rows(64, torch.bfloat16)
    before = wide_TX.clone()
    apply(x_TI, stack, filled(MIXED), wide_TX[:, 30:51])
    changed = (wide_TX != before).cpu()
    adapted = {row for span in MIXED if span.slots for row in range(span.start, span.start + span.count)}
    assert set(changed.any(dim=1).nonzero().flatten().tolist()) == adapted
    assert set(changed.any(dim=0).nonzero().flatten().tolist()) == set(range(30, 51))


@pytest.mark.parametrize("static_grid", [True, False])
@pytest.mark.parametrize("spans", [(), (RowSpan(start=0, count=NUM_ROWS),)])
def test_a_step_of_the_base_alone_changes_nothing(static_grid: bool, spans: Sequence[RowSpan]) -> None:
    stack = random_stack(40, 8, ((0,), 16), full_ranks(8), torch.float32)
    x_TI, out_TO = random_rows(40), random_rows(16)
    before = out_TO.clone()
    groups = filled(MIXED, static_grid=static_grid)
    groups.fill(spans)
    apply(x_TI, stack, groups, out_TO)
    assert torch.equal(out_TO, before)


def test_a_rows_bits_do_not_depend_on_its_neighbours() -> None:
    stack = random_stack(600, 16, ((0,), 48), full_ranks(16), torch.float32)
    x_TI, out_TO = random_rows(600), random_rows(48)
    alone, beside = out_TO.clone(), out_TO.clone()
    apply(x_TI, stack, filled(MIXED), alone)
    loud_TI = x_TI * 1e4
    loud_TI[22] = x_TI[22]
    apply(loud_TI, stack, filled(MIXED), beside)
    assert torch.equal(alone[22], beside[22])
    assert not torch.equal(alone[23], beside[23])


def test_equal_steps_give_equal_bits() -> None:
    stack = random_stack(1100, 16, ((0,), 48), full_ranks(16), torch.float32)
    x_TI, out_TO = random_rows(1100), random_rows(48)
    results = [out_TO.clone() for _ in range(3)]
    for result in results:
        apply(x_TI, stack, filled(MIXED), result)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_scales_of_equal_adapters_are_each_rows_own() -> None:
    stack = random_stack(40, 8, ((0,), 16), full_ranks(8), torch.float32)
    x_TI, out_TO = random_rows(40), torch.zeros(NUM_ROWS, 16, device=DEVICE)
    x_TI[1] = x_TI[0]
    groups = filled([RowSpan(start=row, count=1, slots=(3,), scales=(scale,)) for row, scale in ((0, 1.0), (1, -3.0))])
    apply(x_TI, stack, groups, out_TO)
    torch.testing.assert_close(out_TO[1], -3 * out_TO[0])


def test_inputs_and_outputs_may_be_views() -> None:
    stack = random_stack(40, 16, ((0, 1), 24), full_ranks(16, 2), torch.float32)
    x_TI, out_TO = random_rows(100)[:, 7:47], random_rows(100)[:, 11:59]
    expected = reference(x_TI, stack, MIXED, out_TO)
    apply(x_TI, stack, filled(MIXED), out_TO)
    assert_close(out_TO, expected)


def test_a_cuda_graph_follows_the_groups_and_the_weights() -> None:
    stack = random_stack(1100, 16, ((0, 0, 1), 40), full_ranks(16, 2), torch.bfloat16)
    x_TI, out_TO = random_rows(1100, torch.bfloat16), random_rows(120, torch.bfloat16)
    before, groups = out_TO.clone(), filled(MIXED)
    apply(x_TI, stack, groups, out_TO)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        apply(x_TI, stack, groups, out_TO)
    for spans in ((), MIXED[:1], MIXED, MIXED[2:]):
        stack.a_SIR.mul_(0.5)
        x_TI.copy_(random_rows(1100, torch.bfloat16))
        out_TO.copy_(before)
        groups.fill(spans)
        graph.replay()
        assert_close(out_TO, reference(x_TI, stack, spans, before))
