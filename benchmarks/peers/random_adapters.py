"""Adapters with random weights on every linear layer, each another: small enough to leave the text readable."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

RANK = 16
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_B_SCALE = 0.01


def linear_shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Names of the targeted modules of a model in one safetensors file, and their (out, in) features."""
    with safe_open(base / "model.safetensors", framework="numpy") as tensors:
        names = [name.removesuffix(".weight") for name in tensors.keys()]  # noqa: SIM118 - it is no mapping
        chosen = [name for name in names if name.rpartition(".")[2] in TARGETS]
        shapes = {name: tensors.get_slice(f"{name}.weight").get_shape() for name in chosen}
    return {name: (shape[0], shape[1]) for name, shape in shapes.items()}


def write_adapter(folder: Path, shapes: Mapping[str, tuple[int, int]], seed: int) -> None:
    """A PEFT folder of rank 16; the same seed gives the same weights."""
    generator = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, (num_out, num_in) in shapes.items():
        lora_a = generator.standard_normal((RANK, num_in), dtype=np.float32) / np.float32(math.sqrt(num_in))
        lora_b = generator.standard_normal((num_out, RANK), dtype=np.float32) * np.float32(_B_SCALE)
        weights[f"base_model.model.{name}.lora_A.weight"] = lora_a
        weights[f"base_model.model.{name}.lora_B.weight"] = lora_b
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(_config(), indent=2))


def _config() -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "inference_mode": True,
    }
