"""The fused modules' operations in float32 on a CPU, by functions that are compiled when this is first imported."""

from typing import Any

import torch
from torch import Tensor

from base.loader import LoadedBase
from service.engine.cpu.attention import paged_decode
from service.engine.cpu.operations import add_and_normalize, gate_gelu_tanh, gate_silu, normalize, rotate
from service.engine.lora.compiled_runs import CompiledRouting
from service.engine.lora.routing import Routing
from service.engine.model.attention import Decode
from service.engine.model.operations import TorchOperations

_GATES = {
    "SiLU": gate_silu,
    "SiLUActivation": gate_silu,
    "GELUTanh": gate_gelu_tanh,
    "PytorchGELUTanh": gate_gelu_tanh,
}
"""By the class of the activation."""


class CompiledOperations(TorchOperations):
    """Each is one pass over memory."""

    decode: Decode | None = staticmethod(paged_decode)
    short_span = 4096

    def create_routing(self) -> Routing:
        """One function for all tokens."""
        return CompiledRouting()

    def adapter_dtype(self, base: LoadedBase) -> torch.dtype:
        """The model's, but bfloat16 on an int8 base.

        Reading the weights of many adapters is most of their time, and a rounding of one part in 512 is far below the
        base's.
        """
        return torch.bfloat16 if base.quantization == "int8" else base.dtype

    def normalize(self, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """See `Operations`."""
        return normalize(x, weight_C, eps)

    def add_and_normalize(self, x_TC: Tensor, change_TC: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """See `Operations`."""
        return add_and_normalize(x_TC, change_TC, weight_C, eps)

    def rotate(self, qkv_TX: Tensor, num_heads: int, cos_TD: Tensor, sin_TD: Tensor) -> None:
        """See `Operations`."""
        rotate(qkv_TX, num_heads, cos_TD, sin_TD)

    def gate(self, activation: Any, gate_up: Tensor) -> Tensor:
        """For the activations that are known here; torch does the others."""
        gate = _GATES.get(type(activation).__name__)
        return super().gate(activation, gate_up) if gate is None else gate(gate_up)
