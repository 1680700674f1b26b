"""The weight of a linear layer as a plain matrix, whatever it is stored as."""

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from torch import Tensor, nn

from base.errors import UnsupportedError
from base.int8 import Int8Linear


def dense_weight(linear: nn.Module) -> Tensor:
    """The weight [out, in] of `linear` in float32, dequantised where it is quantised, detached.

    Raises:
        UnsupportedError: the layer is of a kind this function does not know.
    """
    weight: Any = linear.weight
    dense: Tensor
    if isinstance(linear, Linear4bit) and getattr(weight, "quant_state", None) is not None:
        dense = dequantize_4bit(weight.data, weight.quant_state)
    elif isinstance(linear, Linear8bitLt):
        dense = int8_vectorwise_dequant(weight.data, weight.SCB)
    elif isinstance(linear, nn.Linear | Int8Linear):
        dense = weight.detach()
    else:
        raise UnsupportedError(f"no dense weight for a layer of type {type(linear).__name__}")
    return dense.to(torch.float32)
