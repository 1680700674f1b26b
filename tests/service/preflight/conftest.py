"""The tiny base by its folder, and records in a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from base.source import BaseSource
from corpus.dataset import Dataset, load
from corpus.tokens import RowTokens
from service.preflight.machine import MachineMemory
from service.preflight.shape import ModelShape, model_shape


@pytest.fixture
def source(tiny_base_folder: Path) -> BaseSource:
    return BaseSource("tiny", tiny_base_folder)


@pytest.fixture
def tiny_shape(tiny_base_folder: Path) -> ModelShape:
    return model_shape(tiny_base_folder)


@pytest.fixture
def eight_billion() -> ModelShape:
    """Llama 3.1 8B's numbers."""
    sizes = {
        "q_proj": (4096, 4096), "k_proj": (1024, 4096), "v_proj": (1024, 4096), "o_proj": (4096, 4096),
        "gate_proj": (14336, 4096), "up_proj": (14336, 4096), "down_proj": (4096, 14336),
    }  # fmt: skip
    return ModelShape(
        model_type="llama",
        num_parameters=8_030_261_248,
        linear={f"layers.{layer}.{name}": size for layer in range(32) for name, size in sizes.items()},
        hidden_size=4096,
        num_layers=32,
        attention_size=4096,
        key_size=1024,
        norm_size=8192,
        intermediate_size=14336,
        vocabulary_size=128_256,
        context_tokens=131_072,
    )


@pytest.fixture
def roomy() -> MachineMemory:
    return MachineMemory(free_bytes=64 << 30, resident_bytes=0)


@pytest.fixture
def counts() -> Callable[..., list[RowTokens]]:
    """`counts(100, 200)`: rows of so many tokens, half of them labelled."""

    def make(*lengths: int) -> list[RowTokens]:
        return [
            RowTokens(file="f", line=n, length=m, labelled=m // 2, kept=m, kept_labelled=m // 2, first_label=m - m // 2)
            for n, m in enumerate(lengths, start=1)
        ]

    return make


@pytest.fixture
def load_rows(tmp_path: Path) -> Callable[..., Dataset]:
    """`load_rows({...}, {...}, name="a.jsonl")`"""

    def make(*rows: dict[str, Any], name: str = "a.jsonl") -> Dataset:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load(path, skip_bad=True)

    return make
