"""A base's weights as they lie on the disk: no model is built, and one tensor is in memory at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from base.digest import weight_files
from base.errors import InvalidBaseError

FLOAT_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""What a weight can be added to, by the name that safetensors gives it."""


@dataclass(frozen=True)
class StoredTensor:
    """What the header of a weights file says of one tensor."""

    name: str
    shape: tuple[int, ...]
    dtype_name: str
    """As safetensors writes it: `F32`, `BF16`, `I64`, …"""
    file: Path

    @property
    def dtype(self) -> torch.dtype | None:
        """None: no plain floating point numbers, as in folders that hold quantised weights."""
        return FLOAT_DTYPES.get(self.dtype_name)


class StoredWeights:
    """The tensors of a base's folder by name, sorted.

    Raises:
        InvalidBaseError: a weights file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.files = tuple(weight_files(folder))
        self.tensors = {info.name: info for file in self.files for info in _infos(file)}

    def read(self, name: str) -> Tensor:
        """One tensor, as it is stored."""
        with _open(self.tensors[name].file) as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    @property
    def dtype(self) -> torch.dtype:
        """What most of the weights are stored as.

        Raises:
            InvalidBaseError: no tensor is of plain numbers.
        """
        sizes: dict[torch.dtype, int] = {}
        for info in self.tensors.values():
            if info.dtype is not None:
                sizes[info.dtype] = sizes.get(info.dtype, 0) + torch.Size(info.shape).numel()
        if not sizes:
            raise InvalidBaseError("the base's folder holds no weights in plain floating point numbers")
        return max(sizes, key=lambda dtype: sizes[dtype])


def _infos(path: Path) -> Iterator[StoredTensor]:
    with _open(path) as file:
        for name in sorted(file.keys()):
            part = file.get_slice(name)
            yield StoredTensor(name, tuple(part.get_shape()), part.get_dtype(), path)


@contextmanager
def _open(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InvalidBaseError(f"{path} cannot be read: {error}") from error
