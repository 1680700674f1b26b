import copy
import os
import random
from collections.abc import Sequence

import pytest
import torch

pytest.importorskip("triton")

from service.engine.lora.fold import FoldedAdapter, FoldedGroup
from service.engine.lora.grouped_routing import GroupedRouting, RowLimits
from service.engine.lora.groups import Group
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing, Use, Uses
from service.engine.lora.slots import Slots
from service.engine.lora.triton_kernels import add_changes
from service.engine.model.products import create_product

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not INTERPRETED and not torch.cuda.is_available(), reason="runs on CUDA, or interpreted in a process of its own"
    ),
]

GROUPS = (Group(("q", "k", "v"), 40, (48, 16, 16)), Group(("down",), 30, (33,)))
LIMITS = RowLimits(sequences=20, tokens=90, adapters=8)
RANKS = (
    (8, (3, 0, 8), (8,)),
    (8, (8, 8, 8), (5,)),
    (16, (16, 1, 9), (0,)),
    (16, (0, 0, 12), (16,)),
    (8, (2, 7, 0), (1,)),
)
"""Of each adapter: its slot's, and its own in each part of the two groups."""


def random_adapter(width: int, *ranks: tuple[int, ...]) -> FoldedAdapter:
    groups = {}
    for group, own in zip(GROUPS, ranks, strict=True):
        a_IR = torch.randn(group.in_features, width * len(own)) / group.in_features**0.5
        b_PRF = torch.randn(len(group.pieces), width, group.piece_features)
        for part, rank in enumerate(own):
            a_IR[:, part * width + rank : (part + 1) * width] = 0
            b_PRF[torch.tensor(group.pieces) == part, rank:] = 0
        groups[group.name] = FoldedGroup(a_IR, b_PRF, None, own)
    return FoldedAdapter(width, groups)


class Layers:
    """The same layers and adapters in torch on the CPU, and under the kernels."""

    def __init__(self) -> None:
        parts = {group.name: torch.nn.Linear(group.in_features, sum(group.out_features)) for group in GROUPS}
        adapters = [random_adapter(*each) for each in RANKS]
        self.routings = (Routing(), GroupedRouting(add_changes, LIMITS, DEVICE))
        self.layers: list[list[MixedLinear]] = []
        for routing, device in zip(self.routings, (CPU, DEVICE), strict=True):
            slots = Slots(GROUPS, LIMITS.adapters, torch.float32, device)
            self.uses = [Use(slots.write(adapter)) for adapter in adapters]
            self.layers.append([])
            for group in GROUPS:
                product = create_product([copy.deepcopy(parts[group.name]).to(device)], packed=False)
                self.layers[-1].append(MixedLinear(group, product, routing))
                self.layers[-1][-1].attach(slots)

    @torch.inference_mode()
    def check(self, uses: Sequence[Uses], counts: Sequence[int]) -> None:
        for routing, device in zip(self.routings, (CPU, DEVICE), strict=True):
            routing.plan(uses, counts, device)
        assert (*self.routings[1].batched, *self.routings[1].runs) == ()
        for plain, grouped in zip(*self.layers, strict=True):
            x_TI = torch.randn(sum(counts), plain.group.in_features)
            found = grouped(x_TI.to(DEVICE)).cpu()
            torch.testing.assert_close(found, plain(x_TI), atol=1e-4, rtol=1e-4)


def random_step(uses: Sequence[Use], draw: random.Random) -> tuple[list[Uses], list[int]]:
    counts = [1] * draw.randint(1, 12) + [draw.randint(2, 30) for _ in range(draw.choice((0, 0, 1, 2)))]
    scaled = [Use(use.slot, draw.choice((1.0, 0.5, -2.0))) for use in uses]
    return [tuple(draw.sample(scaled, draw.choice((0, 1, 1, 1, 2, 3)))) for _ in counts], counts


@pytest.mark.parametrize("seed", range(3))
def test_random_steps_one_after_the_other_give_what_the_cpu_gives(seed: int) -> None:
    torch.manual_seed(seed)
    layers, draw = Layers(), random.Random(seed)
    for _ in range(4):
        layers.check(*random_step(layers.uses, draw))


def test_a_full_step_of_single_tokens_and_one_of_the_base_alone() -> None:
    torch.manual_seed(7)
    layers = Layers()
    layers.check([(layers.uses[0],)] * LIMITS.sequences, [1] * LIMITS.sequences)
    layers.check([()] * 3, [1, 1, 4])
    layers.check([(layers.uses[2],)], [LIMITS.tokens])
