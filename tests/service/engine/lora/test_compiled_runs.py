from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engine.lora.compiled_runs import CompiledRouting, CompiledRuns
from service.engine.lora.fold import fold
from service.engine.lora.groups import Group
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing, Use, Uses
from service.engine.lora.slots import Slots
from service.engine.model.products import create_product

CPU = torch.device("cpu")
GROUPS = (Group(("q", "k", "v"), 10, (12, 4, 4)), Group(("down",), 7, (9,)))

Step = Sequence[tuple[Uses, int]]
scales = st.sampled_from([1.0, 0.5, -2.0])
chosen = st.lists(st.tuples(st.integers(0, 7), scales), max_size=3, unique_by=lambda use: use[0])
singles = st.lists(st.tuples(chosen, st.just(1)), max_size=12)
prompts = st.lists(st.tuples(chosen, st.integers(2, 9)), max_size=3)
steps = st.tuples(singles, prompts).map(lambda parts: [*parts[0], *parts[1]]).filter(bool)


class Layers:
    """The same layers and adapters under two routings, in slots of `dtype` and, as exactly, of float32."""

    def __init__(
        self, make_weights: Callable[..., Any], make_parts: Callable[..., Any], dtype: torch.dtype = torch.float32
    ) -> None:
        self.plain, self.compiled = Routing(), CompiledRouting()
        products = {group.name: create_product(make_parts(group), packed=False) for group in GROUPS}
        plain_slots, self.stacks = Slots(GROUPS, 9, torch.float32, CPU), Slots(GROUPS, 9, dtype, CPU)
        adapters = [make_weights(*GROUPS, seed=seed, rank=rank) for seed, rank in enumerate((3, 8, 1, 5, 16, 9, 12))]
        adapters.append(make_weights(*GROUPS, seed=7, rank=11, only=("k", "down"), ranks={"down": 2}))
        adapters.append(make_weights(*GROUPS, seed=8, rank=4, dora=True))
        folded = [fold(each.weights, each.config, GROUPS, products, dtype) for each in adapters]
        self.slots = [self.stacks.write(each) for each in folded]
        assert [plain_slots.write(each) for each in folded] == self.slots
        self.pairs = [
            tuple(MixedLinear(group, products[group.name], routing) for routing in (self.plain, self.compiled))
            for group in GROUPS
        ]
        for plain, compiled in self.pairs:
            plain.attach(plain_slots)
            compiled.attach(self.stacks)

    def check(self, step: Step) -> None:
        uses, counts = [each for each, _ in step], [count for _, count in step]
        self.plain.plan(uses, counts, CPU)
        self.compiled.plan(uses, counts, CPU)
        for plain, compiled in self.pairs:
            x_TI = torch.randn(sum(counts), plain.group.in_features)
            torch.testing.assert_close(compiled(x_TI), plain(x_TI), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def layers(request: pytest.FixtureRequest, make_weights: Callable[..., Any], make_parts: Callable[..., Any]) -> Layers:
    return Layers(make_weights, make_parts, request.param)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=st.lists(steps, min_size=1, max_size=4))
def test_any_steps_one_after_the_other_give_what_the_plain_routing_gives(layers: Layers, steps: list[Any]) -> None:
    for step in steps:
        layers.check([(tuple(Use(layers.slots[at], scale) for at, scale in each), count) for each, count in step])


def test_nothing_is_left_to_torch(layers: Layers) -> None:
    layers.check([*(((Use(slot),), 1) for slot in layers.slots[:4]), ((Use(layers.slots[1]),), 40)])
    assert [rows.rank for rows in layers.compiled.grouped] == sorted({slot.rank for slot in layers.slots[:4]})
    assert (*layers.compiled.batched, *layers.compiled.runs) == ()


def test_neighbours_under_equal_uses_share_their_reads(layers: Layers) -> None:
    one, other = (Use(layers.slots[0]),), (Use(layers.slots[2]),)
    layers.check([(one, 1), (one, 1), (one, 1), ((), 1), (other, 1), (one, 1), (other, 100)])
    (rows,) = [rows for rows in layers.compiled.grouped if rows.rank == layers.slots[0].rank]
    assert isinstance(rows, CompiledRuns)
    assert [(start, end) for start, end in zip(rows.starts_B, rows.ends_B, strict=True)][:3] == [(0, 3), (4, 5), (5, 6)]


def test_magnitudes_come_after_the_change(layers: Layers) -> None:
    layers.check([((Use(layers.slots[8]),), 1), ((Use(layers.slots[0]),), 1), ((), 1), ((Use(layers.slots[8]),), 5)])
    assert layers.compiled.magnitudes


def test_a_row_is_the_same_to_the_bit_whatever_stands_beside_it(layers: Layers) -> None:
    uses = [(Use(layers.slots[at]), Use(layers.slots[at + 1], 0.5)) for at in range(4)]
    x_TI = torch.randn(4, 10)

    def alone(row: int) -> torch.Tensor:
        layers.compiled.plan([uses[row]], [1], CPU)
        out_TO = torch.zeros(1, 20)
        for grouped in layers.compiled.grouped:
            grouped.add(x_TI[row : row + 1], out_TO, layers.stacks.stack(grouped.rank, "q"))
        return out_TO[0]

    layers.compiled.plan(uses, [1] * 4, CPU)
    together_TO = torch.zeros(4, 20)
    for grouped in layers.compiled.grouped:
        grouped.add(x_TI, together_TO, layers.stacks.stack(grouped.rank, "q"))
    assert torch.equal(together_TO, torch.stack([alone(row) for row in range(4)]))
