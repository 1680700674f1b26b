"""Random adapters of every kind that lorad serves, each strong enough that no other could pass for it.

Shape legend: R rank, I in_features, O out_features.
"""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adapters.config import LoraConfig
from adapters.coverage import LORA_A, LORA_B, MAGNITUDE, PREFIX
from adapters.targets import targeted_modules
from base.shapes import module_shapes

_STRENGTH = 0.3
"""Of an update, as a share of the weight's own spread."""


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight [O, I] of every linear layer that adapters may target."""
    layers = {name: model.get_submodule(name) for name in module_shapes(model)}
    return {name: layer.weight.detach() for name, layer in layers.items() if isinstance(layer.weight, Tensor)}


def write_adapter(folder: Path, weights: Mapping[str, Tensor], seed: int) -> str:
    """Writes a PEFT folder; kinds take turns with the seed.

    Returns:
        The kind.
    """
    chance = random.Random(seed)
    kinds = list(_kinds(chance, weights))
    kind, settings = kinds[seed % len(kinds)]
    config = LoraConfig(**{"rank": chance.choice((4, 6, 8, 12, 16, 24, 32)), "alpha": 16.0, **settings})
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name in targeted_modules(config, weights.keys()):
        tensors |= _module(name, weights[name], config, generator)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config.write(folder)
    return kind


def _kinds(chance: random.Random, weights: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    endings = sorted({name.rpartition(".")[2] for name in weights})
    ranked, weighed = chance.sample(endings, 2)
    few = tuple(chance.sample(endings, 2))
    return [
        ("plain", {"target_modules": "all-linear"}),
        ("rslora", {"target_modules": "all-linear", "rslora": True}),
        (
            "patterns",
            {
                "target_modules": "all-linear",
                "rank_pattern": {ranked: chance.choice((2, 20, 40))},
                "alpha_pattern": {weighed: 64.0},
            },
        ),
        ("dora", {"target_modules": "all-linear", "dora": True}),
        ("partial", {"target_modules": few}),
    ]


def _module(name: str, weight_OI: Tensor, config: LoraConfig, generator: torch.Generator) -> dict[str, Tensor]:
    (num_out, num_in), rank = weight_OI.shape, config.rank_of(name)
    a_RI = torch.randn(rank, num_in, generator=generator) / math.sqrt(num_in)
    size = _STRENGTH * float(weight_OI.std()) * math.sqrt(num_in / rank) / config.scaling(name)
    tensors = {LORA_A: a_RI, LORA_B: torch.randn(num_out, rank, generator=generator) * size}
    if config.dora:
        tensors[MAGNITUDE] = weight_OI.norm(dim=1) * (1 + 0.1 * torch.randn(num_out, generator=generator))
    return {PREFIX + name + role: tensor.contiguous() for role, tensor in tensors.items()}
