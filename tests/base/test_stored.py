from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from base.errors import InvalidBaseError
from base.stored import StoredWeights


def test_tensors_are_read_as_they_are_stored(folder: Path) -> None:
    stored = StoredWeights(folder)
    expected = load_file(folder / "model.safetensors")
    assert set(stored.tensors) == set(expected)
    assert all(torch.equal(stored.read(name), tensor) for name, tensor in expected.items())
    assert stored.dtype == torch.float32


def test_the_dtype_is_that_of_most_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    mixed = {name: tensor if "norm" in name else tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    save_file(mixed, folder / "model.safetensors")
    stored = StoredWeights(folder)
    assert stored.dtype == torch.bfloat16
    assert stored.tensors["model.norm.weight"].dtype == torch.float32


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(20))
    with pytest.raises(InvalidBaseError, match=r"model\.safetensors"):
        StoredWeights(folder)
