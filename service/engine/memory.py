"""Large tensors of zeros."""

import math
import mmap

import torch
from torch import Tensor

_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros of that size; on the CPU, memory that is taken page by page as it is written.

    `torch.zeros` writes all of it at once: a cache of gigabytes would be slow to start and take its memory even while
    nobody asks anything.
    """
    num_bytes = math.prod(size) * dtype.itemsize
    if device.type != "cpu" or num_bytes == 0:
        return torch.zeros(size, dtype=dtype, device=device)
    return torch.frombuffer(mmap.mmap(-1, num_bytes, flags=_FLAGS), dtype=dtype).view(size)
