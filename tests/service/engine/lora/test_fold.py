import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base.dense import dense_weight
from base.int8 import Int8Linear
from service.engine.lora.fold import FoldedAdapter, fold
from service.engine.lora.groups import Group
from service.engine.model.products import create_product

QKV = Group(("q", "k", "v"), 10, (12, 4, 4))
DOWN = Group(("down",), 6, (10,))
GROUPS = (QKV, DOWN)
MakeWeights = Callable[..., Any]


@pytest.fixture(scope="module")
def folded(make_parts: Callable[..., list[nn.Linear]]) -> Callable[..., FoldedAdapter]:
    products = {group.name: create_product(make_parts(group), packed=False) for group in GROUPS}

    def make(adapter: Any, dtype: torch.dtype = torch.float32) -> FoldedAdapter:
        return fold(adapter.weights, adapter.config, GROUPS, products, dtype)

    return make


def joined(found: FoldedAdapter, group: Group, x_TI: Tensor) -> Tensor:
    """What the folded weights add, all parts side by side."""
    part = found.groups[group.name]
    rank = found.rank
    pieces = []
    for at, piece in enumerate(group.pieces):
        a_IR = part.a_IR[:, piece * rank : (piece + 1) * rank]
        pieces.append(x_TI.double() @ a_IR.double() @ part.b_PRF[at].double())
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 32.0},
        {"rslora": True},
        {"ranks": {"k": 7, "down": 1}},
        {"alpha_pattern": {"v": 0.5}},
        {"rslora": True, "ranks": {"q": 9}, "alpha_pattern": {"q": 5.0}},
    ],
    ids=str,
)
def test_folded_weights_add_what_the_adapter_does(
    settings: dict[str, Any], make_weights: MakeWeights, change: Callable[..., Tensor], folded: Callable[..., Any]
) -> None:
    adapter = make_weights(*GROUPS, seed=1, rank=4, **settings)
    found = folded(adapter)
    for group in GROUPS:
        x_TI = torch.randn(3, group.in_features)
        expected = torch.cat([change(adapter, name, x_TI) for name in group.names], dim=1)
        torch.testing.assert_close(joined(found, group, x_TI), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rank", "expected"), [(1, 8), (8, 8), (9, 16), (16, 16), (33, 64), (64, 64)])
def test_the_rank_is_the_next_power_of_two(
    rank: int, expected: int, make_weights: MakeWeights, folded: Callable[..., FoldedAdapter]
) -> None:
    found = folded(make_weights(*GROUPS, seed=2, rank=rank))
    assert found.rank == expected
    assert found.groups["q"].a_IR.shape == (10, 3 * expected)
    assert found.groups["q"].b_PRF.shape == (5, expected, 4)


def test_the_largest_rank_of_a_pattern_counts(make_weights: MakeWeights, folded: Callable[..., FoldedAdapter]) -> None:
    assert folded(make_weights(*GROUPS, seed=3, rank=4, ranks={"down": 20})).rank == 32


def test_what_an_adapter_leaves_alone_is_absent_or_zero(
    make_weights: MakeWeights, change: Callable[..., Tensor], folded: Callable[..., FoldedAdapter]
) -> None:
    adapter = make_weights(*GROUPS, seed=4, rank=4, only=("k",))
    found = folded(adapter)
    assert set(found.groups) == {"q"}
    x_TI = torch.randn(3, 10)
    delta = joined(found, QKV, x_TI)
    assert not delta[:, QKV.columns[0]].any()
    assert not delta[:, QKV.columns[2]].any()
    torch.testing.assert_close(delta[:, QKV.columns[1]], change(adapter, "k", x_TI), rtol=1e-5, atol=1e-5)


def test_plain_lora_has_no_ratio(make_weights: MakeWeights, folded: Callable[..., FoldedAdapter]) -> None:
    found = folded(make_weights(*GROUPS, seed=5, rank=4))
    assert not found.dora
    assert all(group.ratio_O is None for group in found.groups.values())


def test_dora_brings_each_part_to_its_magnitude(
    make_weights: MakeWeights,
    make_parts: Callable[..., list[nn.Linear]],
    ratio: Callable[..., Tensor],
    folded: Callable[..., FoldedAdapter],
) -> None:
    adapter = make_weights(*GROUPS, seed=6, rank=4, dora=True, only=("q", "v"), ranks={"v": 2})
    found = folded(adapter)
    parts = make_parts(QKV)
    assert found.dora
    ratio_O = found.groups["q"].ratio_O
    assert ratio_O is not None
    torch.testing.assert_close(ratio_O[QKV.columns[0]].double(), ratio(adapter, "q", parts[0].weight))
    torch.testing.assert_close(ratio_O[QKV.columns[2]].double(), ratio(adapter, "v", parts[2].weight))
    assert torch.equal(ratio_O[QKV.columns[1]], torch.ones(4))


def test_dora_measures_the_weight_that_is_really_used(
    make_weights: MakeWeights, make_parts: Callable[..., list[nn.Linear]], ratio: Callable[..., Tensor]
) -> None:
    adapter = make_weights(DOWN, seed=7, rank=4, dora=True)
    quantised = Int8Linear(make_parts(DOWN)[0])
    products = {"down": create_product([quantised], packed=False)}
    found = fold(adapter.weights, adapter.config, [DOWN], products, torch.float32).groups["down"].ratio_O
    assert found is not None
    torch.testing.assert_close(found.double(), ratio(adapter, "down", dense_weight(quantised)))


def test_weights_take_the_dtype_of_the_slots_and_are_scaled_before(
    make_weights: MakeWeights, folded: Callable[..., FoldedAdapter]
) -> None:
    adapter = make_weights(*GROUPS, seed=8, rank=8, alpha=3.0, rslora=True)
    found = folded(adapter, torch.bfloat16).groups["down"]
    scaled = adapter.weights["down"].lora_b_OR * (3 / math.sqrt(8))
    assert torch.equal(found.b_PRF[0], scaled.t().to(torch.bfloat16))
    assert found.a_IR.dtype == torch.bfloat16


def test_bytes_are_those_of_all_tensors(make_weights: MakeWeights, folded: Callable[..., FoldedAdapter]) -> None:
    qkv, down = 10 * 24 + 5 * 8 * 4, 6 * 8 + 8 * 10
    assert folded(make_weights(*GROUPS, seed=9, rank=8)).num_bytes == 4 * (qkv + down)
    assert folded(make_weights(*GROUPS, seed=9, rank=8, dora=True)).num_bytes == 4 * (qkv + 20 + down + 10)
