from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine.lora.fold import fold
from service.engine.lora.grouped_routing import ADAPTERS_PER_ROW, GroupedRouting, RowLimits, rows_by_rank
from service.engine.lora.groups import Group
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing, Use, Uses
from service.engine.lora.slots import Slot, Slots
from service.engine.model.acceleration import Acceleration
from service.engine.model.products import create_product

CPU = torch.device("cpu")
GROUPS = (Group(("q", "k", "v"), 10, (12, 4, 4)), Group(("down",), 6, (9,)))
LIMITS = RowLimits(sequences=12, tokens=60, adapters=9)
SLOTS = [Slot(rank, index, frozenset({"q"}), dora=False) for rank in (8, 16) for index in range(4)]

Step = Sequence[tuple[Uses, int]]
scales = st.sampled_from([1.0, 0.5, -2.0])
chosen = st.lists(st.tuples(st.integers(0, 7), scales), max_size=3, unique_by=lambda use: use[0])
singles = st.lists(st.tuples(chosen, st.just(1)), max_size=12)
prompts = st.lists(st.tuples(chosen, st.integers(2, 9)), max_size=3)
steps = st.tuples(singles, prompts).map(lambda parts: [*parts[0], *parts[1]]).filter(bool)


class Layers:
    """The same layers and adapters under two routings."""

    def __init__(self, make_weights: Callable[..., Any], make_parts: Callable[..., Any], add_changes: Any) -> None:
        self.plain, self.grouped = Routing(), GroupedRouting(add_changes, LIMITS, CPU)
        products = {group.name: create_product(make_parts(group), packed=False) for group in GROUPS}
        slots = Slots(GROUPS, LIMITS.adapters, torch.float32, CPU)
        adapters = [make_weights(*GROUPS, seed=seed, rank=rank) for seed, rank in enumerate((3, 8, 1, 5, 16, 9, 12))]
        adapters.append(make_weights(*GROUPS, seed=7, rank=11, only=("k", "down"), ranks={"down": 2}))
        adapters.append(make_weights(*GROUPS, seed=8, rank=4, dora=True))
        self.slots = [
            slots.write(fold(each.weights, each.config, GROUPS, products, torch.float32)) for each in adapters
        ]
        self.pairs = [
            tuple(MixedLinear(group, products[group.name], routing) for routing in (self.plain, self.grouped))
            for group in GROUPS
        ]
        for layer in (layer for pair in self.pairs for layer in pair):
            layer.attach(slots)
        self.stacks = slots

    def check(self, step: Step) -> None:
        uses, counts = [each for each, _ in step], [count for _, count in step]
        self.plain.plan(uses, counts, CPU)
        self.grouped.plan(uses, counts, CPU)
        for plain, grouped in self.pairs:
            x_TI = torch.randn(sum(counts), plain.group.in_features)
            torch.testing.assert_close(grouped(x_TI), plain(x_TI), atol=1e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def layers(
    make_weights: Callable[..., Any], make_parts: Callable[..., Any], torch_acceleration: Acceleration
) -> Layers:
    return Layers(make_weights, make_parts, torch_acceleration.add_changes)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=st.lists(steps, min_size=1, max_size=4))
def test_any_steps_one_after_the_other_give_what_the_plain_routing_gives(layers: Layers, steps: list[Any]) -> None:
    for step in steps:
        layers.check([(tuple(Use(layers.slots[at], scale) for at, scale in each), count) for each, count in step])
        assert (*layers.grouped.batched, *layers.grouped.runs) == ()


def test_magnitudes_come_after_the_kernels(layers: Layers) -> None:
    layers.check([((Use(layers.slots[8]),), 1), ((Use(layers.slots[0]),), 1), ((), 1), ((Use(layers.slots[8]),), 5)])
    assert layers.grouped.grouped
    assert layers.grouped.magnitudes


def test_a_step_beyond_the_capacity_goes_the_way_of_torch(layers: Layers) -> None:
    alike = [slot for slot in layers.slots if slot.rank == 8][: ADAPTERS_PER_ROW + 1]
    assert len(alike) > ADAPTERS_PER_ROW
    layers.check([(tuple(map(Use, alike)), 1), ((Use(alike[0]),), 1)])
    assert not layers.grouped.grouped
    layers.check([((Use(alike[0]),), 1)] * (LIMITS.sequences + 1))
    assert not layers.grouped.grouped
    layers.check([((Use(alike[0]),), 1)] * LIMITS.sequences)
    assert layers.grouped.grouped


def test_a_slot_knows_how_much_of_it_is_in_use(layers: Layers) -> None:
    slot = layers.slots[7]
    ranks = [layers.stacks.stack(slot.rank, group.name).ranks_SN[slot.index].tolist() for group in GROUPS]
    assert ranks == [[0, 11, 0], [2]]


def test_groups_that_no_adapter_changes_are_left_out(layers: Layers) -> None:
    layers.grouped.plan([(Use(Slot(8, 0, frozenset({"down"}), dora=False)),)], [1], CPU)
    (rows,) = layers.grouped.grouped
    assert rows.groups == {"down"}


def test_a_pass_that_is_to_be_captured_goes_through_the_given_rows_alone(layers: Layers) -> None:
    layers.check([((Use(layers.slots[8]),), 5)])
    rows = layers.grouped.fixed(4, 16, frozenset({"q"}))
    layers.grouped.take([rows])
    assert (layers.grouped.grouped, layers.grouped.magnitudes) == ([rows], ())
    assert rows.entries.num_row_tiles == rows.entries.capacity.num_row_tiles > 0


@given(
    step=st.lists(st.tuples(st.lists(st.sampled_from(SLOTS), max_size=3, unique=True), st.integers(1, 5)), max_size=8)
)
def test_every_row_has_each_of_its_slots_in_the_span_of_its_rank(step: list[tuple[list[Slot], int]]) -> None:
    uses = [tuple(Use(slot, 0.5 + slot.index) for slot in slots) for slots, _ in step]
    counts = [count for _, count in step]
    found = {
        (row, rank, slot, scale)
        for rank, spans in rows_by_rank(uses, counts).items()
        for span in spans
        for row in range(span.start, span.start + span.count)
        for slot, scale in zip(span.slots, span.scales, strict=True)
    }
    starts: list[int] = [0, *accumulate(counts)]
    assert found == {
        (row, use.slot.rank, use.slot.index, use.scale)
        for start, count, each in zip(starts, counts, uses, strict=False)
        for row in range(start, start + count)
        for use in each
    }


def test_neighbours_under_equal_uses_are_one_span() -> None:
    use, weaker = Use(SLOTS[1]), Use(SLOTS[1], 0.5)
    spans = rows_by_rank([(), (use,), (Use(SLOTS[1]),), (use,), (weaker,), (use,)], [2, 1, 1, 4, 1, 1])[8]
    assert [(span.start, span.count, span.scales) for span in spans] == [
        (2, 6, (1.0,)),
        (8, 1, (0.5,)),
        (9, 1, (1.0,)),
    ]
