"""Tensors as compiled functions take them."""

from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any]


def array(tensor: Tensor) -> Array:
    """The same memory; the tensor must be on the CPU and without gradient. bfloat16, which numpy lacks, is uint16."""
    found: Array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return found
