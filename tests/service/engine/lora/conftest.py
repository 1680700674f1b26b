"""Random adapters for one group of linear layers, and what they should do to a token, in float64."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters.config import LoraConfig
from adapters.weights import LoraWeights
from service.engine.lora.groups import Group


@dataclass(frozen=True)
class Adapter:
    """As it lies on disk."""

    config: LoraConfig
    weights: Mapping[str, LoraWeights]


@pytest.fixture(scope="session")
def make_weights() -> Callable[..., Adapter]:
    """`make(groups, seed=…, rank=…, dora=…, only=(part names), ranks={name: rank}, **config)`"""

    def make(
        *groups: Group,
        seed: int,
        rank: int,
        dora: bool = False,
        only: tuple[str, ...] | None = None,
        ranks: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> Adapter:
        random = torch.Generator().manual_seed(seed)
        weights = {}
        for group in groups:
            for name, size in zip(group.names, group.out_features, strict=True):
                if only is None or name in only:
                    own = (ranks or {}).get(name, rank)
                    a_RI = torch.randn(own, group.in_features, generator=random)
                    b_OR = torch.randn(size, own, generator=random)
                    weights[name] = LoraWeights(a_RI, b_OR, torch.rand(size, generator=random) + 1 if dora else None)
        config = LoraConfig(
            rank=rank, target_modules="all-linear", dora=dora, rank_pattern=ranks or {}, **{"alpha": 3.0, **settings}
        )
        return Adapter(config, weights)

    return make


@pytest.fixture(scope="session")
def change() -> Callable[..., Tensor]:
    """`change(adapter, name, x_TI)`: scaling * B A x of one part, float64 [T, O]."""

    def compute(adapter: Adapter, name: str, x_TI: Tensor) -> Tensor:
        part = adapter.weights[name]
        delta_OI = part.lora_b_OR.double() @ part.lora_a_RI.double() * adapter.config.scaling(name)
        return x_TI.double() @ delta_OI.t()

    return compute


@pytest.fixture(scope="session")
def ratio() -> Callable[..., Tensor]:
    """`ratio(adapter, name, weight_OI)`: DoRA's factor of one part (arXiv:2402.09353, equation 5), float64 [O]."""

    def compute(adapter: Adapter, name: str, weight_OI: Tensor) -> Tensor:
        part = adapter.weights[name]
        if part.magnitude_O is None:
            return torch.ones(len(weight_OI), dtype=torch.float64)
        delta_OI = part.lora_b_OR.double() @ part.lora_a_RI.double() * adapter.config.scaling(name)
        length_O: Tensor = (weight_OI.double() + delta_OI).norm(dim=1)
        return part.magnitude_O.double() / length_O

    return compute


@pytest.fixture(scope="session")
def make_parts() -> Callable[..., list[nn.Linear]]:
    """`make(group, bias=(which parts))`: random linear layers of a group."""

    def make(group: Group, bias: tuple[int, ...] = ()) -> list[nn.Linear]:
        random = torch.Generator().manual_seed(sum(group.out_features))
        parts = []
        for at, size in enumerate(group.out_features):
            part = nn.Linear(group.in_features, size, bias=at in bias)
            part.weight.data = torch.randn(size, group.in_features, generator=random)
            if at in bias:
                part.bias.data = torch.randn(size, generator=random)
            parts.append(part.requires_grad_(requires_grad=False))
        return parts

    return make
