from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from base.int8 import Int8Linear
from service.engine.lora import routing as routing_module
from service.engine.lora.fold import fold
from service.engine.lora.groups import Group
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing, Use, Uses
from service.engine.lora.slots import Slots
from service.engine.model.products import create_product

CPU = torch.device("cpu")
GROUPS = {
    "one": Group(("down",), 10, (6,)),
    "equal": Group(("gate", "up"), 5, (8, 8)),
    "uneven": Group(("q", "k", "v"), 7, (12, 4, 4)),
}
KINDS: tuple[dict[str, Any], ...] = (
    {"rank": 4},
    {"rank": 2, "rslora": True},
    {"rank": 5, "dora": True},
    {"rank": 8},
    {"rank": 12},
    {"rank": 9, "alpha": 20.0},
    {"rank": 12, "dora": True},
)
"""Two stacks, each with DoRA."""

Row = tuple[tuple[tuple[int, float], ...], int]
"""Adapters and their scales, and how many tokens."""
_PLAIN = [at for at, kind in enumerate(KINDS) if not kind.get("dora")]
_scaled = st.tuples(st.sampled_from(_PLAIN), st.sampled_from([1.0, 1.0, 0.5, -2.0, 0.0]))
_uses = st.lists(_scaled, max_size=3, unique_by=lambda pair: pair[0]).map(tuple) | st.sampled_from(
    [((at, 1.0),) for at in range(len(KINDS)) if at not in _PLAIN]
)
steps = st.tuples(
    st.lists(st.tuples(_uses, st.just(1)), max_size=10), st.lists(st.tuples(_uses, st.integers(2, 12)), max_size=4)
).map(lambda parts: [*parts[0], *parts[1]])


@dataclass
class Bench:
    """A layer with adapters in slots, and beside it what each token should give."""

    layer: MixedLinear
    routing: Routing
    uses: list[Use]
    adapters: list[Any]
    parts: list[nn.Linear]
    change: Callable[..., Tensor]
    ratio: Callable[..., Tensor]

    def plan(self, rows: Sequence[Row]) -> None:
        self.routing.plan([self._uses(row) for row, _ in rows], [count for _, count in rows], CPU)

    def expected(self, x_TI: Tensor, rows: Sequence[Row]) -> Tensor:
        outs, first = [], 0
        for uses, count in rows:
            outs.append(self._expected(x_TI[first : first + count], uses))
            first += count
        return torch.cat(outs)

    def _uses(self, row: tuple[tuple[int, float], ...]) -> Uses:
        return tuple(Use(self.uses[at].slot, scale) for at, scale in row)

    def _expected(self, x_TI: Tensor, uses: tuple[tuple[int, float], ...]) -> Tensor:
        columns = []
        for name, part in zip(self.layer.group.names, self.parts, strict=True):
            out = x_TI.double() @ part.weight.double().t()
            for at, scale in uses:
                if name in self.adapters[at].weights:
                    out = out + scale * self.change(self.adapters[at], name, x_TI)
            for at, _ in uses:
                if name in self.adapters[at].weights:
                    out = out * self.ratio(self.adapters[at], name, part.weight)
            columns.append(out if part.bias is None else out + part.bias.double())
        return torch.cat(columns, dim=1)


@pytest.fixture(scope="module")
def make_bench(
    make_weights: Callable[..., Any],
    make_parts: Callable[..., list[nn.Linear]],
    change: Callable[..., Tensor],
    ratio: Callable[..., Tensor],
) -> Callable[..., Bench]:
    def make(group: Group, bias: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, int8: bool = False) -> Bench:
        parts = make_parts(group, bias)
        product = create_product([Int8Linear(part) for part in parts] if int8 else parts, packed=False)
        adapters = [
            # Every third leaves the last part alone.
            make_weights(group, seed=at, only=group.names[: 1 if at % 3 == 2 else None], **kind)
            for at, kind in enumerate(KINDS)
        ]
        slots = Slots([group], 2 * len(KINDS), dtype, CPU)
        uses, freed = [], []
        for adapter in adapters:
            folded = fold(adapter.weights, adapter.config, [group], {group.name: product}, dtype)
            uses.append(Use(slots.write(folded)))
            freed.append(slots.write(folded))
        for slot in freed:
            # Empty places lie between those in use, and whatever is in them must not reach anybody.
            stack = slots.stack(slot.rank, group.name)
            stack.a_SIR[slot.index] = stack.b_SPRF[slot.index] = torch.nan
            slots.free(slot)
        routing = Routing()
        layer = MixedLinear(group, product, routing)
        layer.attach(slots)
        return Bench(layer, routing, uses, adapters, parts, change, ratio)

    return make


@pytest.fixture(scope="module")
def benches(make_bench: Callable[..., Bench]) -> dict[str, Bench]:
    return {
        **{name: make_bench(group) for name, group in GROUPS.items()},
        "biased": make_bench(GROUPS["uneven"], bias=(0, 2)),
    }


def check(bench: Bench, rows: Sequence[Row]) -> None:
    num_tokens = sum(count for _, count in rows)
    x_TI = torch.randn(num_tokens, bench.layer.group.in_features, generator=torch.Generator().manual_seed(num_tokens))
    bench.plan(rows)
    out_TO = bench.layer(x_TI)
    torch.testing.assert_close(out_TO.double(), bench.expected(x_TI, rows), rtol=1e-4, atol=1e-4)
    untouched_T = torch.tensor([not uses for uses, count in rows for _ in range(count)])
    assert torch.equal(out_TO[untouched_T], bench.layer.product(x_TI)[untouched_T])


@pytest.mark.parametrize("batching", [None, True, False], ids=["as it pays", "always batched", "always runs"])
@settings(max_examples=60)
@given(rows=steps.filter(bool), name=st.sampled_from(["one", "equal", "uneven", "biased"]))
def test_any_mix_is_the_sum_of_what_each_adapter_adds(
    benches: dict[str, Bench], batching: bool | None, rows: list[Row], name: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if batching is not None:
            patch.setattr(routing_module, "_batching_pays", lambda _: batching)
        check(benches[name], rows)


def test_a_token_keeps_its_bits_when_others_change_adapters(benches: dict[str, Bench]) -> None:
    bench = benches["uneven"]
    x_TI = torch.randn(3, 7)
    found = []
    for others in (0, 1):
        bench.plan([(((3, 1.0),), 1), (((others, 1.0),), 1), (((others, 1.0),), 1)])
        found.append(bench.layer(x_TI)[0])
    assert torch.equal(*found)


def test_rows_keep_their_adapter_where_a_model_flattens_them(benches: dict[str, Bench]) -> None:
    bench = benches["one"]
    bench.plan([((), 2), (((0, 1.0),), 5)])
    x_1TI = torch.randn(1, 7, 10)
    found = bench.layer(x_1TI)
    assert found.shape == (1, 7, 6)
    assert torch.equal(bench.layer(x_1TI[0]), found[0])


def test_inputs_may_be_views(benches: dict[str, Bench]) -> None:
    bench = benches["one"]
    rows: list[Row] = [*((((at, 1.0),), 1) for at in (0, 1, 3, 4)), (((4, 0.5),), 30)]
    bench.plan(rows)
    x_TI = torch.randn(34, 20)[:, ::2]
    torch.testing.assert_close(bench.layer(x_TI).double(), bench.expected(x_TI, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [[(((at, 1.0),), 1) for at in (0, 1, 2)], [(((0, 0.5),), 9)], [(((2, 1.0),), 9)]])
def test_a_bfloat16_model_on_an_int8_base_stays_near_the_float_one(
    make_bench: Callable[..., Bench], rows: list[Row]
) -> None:
    bench = make_bench(GROUPS["uneven"], bias=(0, 1, 2), dtype=torch.bfloat16, int8=True)
    x_TI = torch.randn(sum(count for _, count in rows), 7).to(torch.bfloat16)
    bench.plan(rows)
    found, expected = bench.layer(x_TI), bench.expected(x_TI, rows)
    assert found.dtype == torch.bfloat16
    assert float((found - expected).abs().max()) < 0.03 * float(expected.abs().max())
