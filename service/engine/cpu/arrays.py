"""Tensors as compiled functions take them."""

from typing import Any, TypeAlias

from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any]


def array(tensor: Tensor) -> Array:
    """The same memory; the tensor must be on the CPU and without gradient."""
    found: Array = tensor.numpy()
    return found
