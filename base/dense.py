"""The weight of a linear layer as a plain matrix, whatever it is stored as."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from base.errors import UnsupportedError
from base.int8 import Int8Linear


def dense_weight(linear: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weight [out, in] of `linear` in `dtype`, dequantised where it is quantised, detached.

    Raises:
        UnsupportedError: the layer is of a kind this function does not know.
    """
    weight: Any = getattr(linear, "weight", None)
    dense: Tensor
    if getattr(weight, "quant_state", None) is not None:
        dense = _bitsandbytes().dequantize_4bit(weight.data, weight.quant_state)
    elif (scale := _int8_scale(linear)) is not None:
        dense = _bitsandbytes().int8_vectorwise_dequant(weight.data, scale)
    elif isinstance(linear, nn.Linear | Int8Linear):
        dense = weight.detach()
    else:
        raise UnsupportedError(f"no dense weight for a layer of type {type(linear).__name__}")
    return dense.to(dtype)


def _int8_scale(linear: nn.Module) -> Any:
    # bitsandbytes moves it from the weight to the layer's state at the first forward.
    scale = getattr(getattr(linear, "weight", None), "SCB", None)
    return scale if scale is not None else getattr(getattr(linear, "state", None), "SCB", None)


def _bitsandbytes() -> Any:
    # Where a layer is bitsandbytes' it is imported already; elsewhere it would cost a second at every start and
    # print advice to install `kernels`, which lorad must not.
    return importlib.import_module("bitsandbytes.functional")
