"""What the fused modules do between their products, as torch does it and as whatever is faster may.

Shape legend: T tokens, C hidden size, X outputs of a joined layer, D head dimension, F features of the MLP.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from base.loader import LoadedBase
from service.engine.lora.routing import Routing
from service.engine.model.attention import Decode


class Operations(Protocol):
    """One device's."""

    @property
    def decode(self) -> Decode | None:
        """Attention of single tokens; None: they are gathered and padded."""
        ...

    @property
    def short_span(self) -> int:
        """Pairs of a token and one that it sees that `decode` does as fast as torch does a span of them."""
        ...

    def create_routing(self) -> Routing:
        """How the adapters of a step are laid out."""
        ...

    def adapter_dtype(self, base: LoadedBase) -> torch.dtype:
        """Of the adapters' weights in their slots."""
        ...

    def add_and_normalize(self, x_TC: Tensor, change_TC: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """Adds `change_TC` to `x_TC` in place and normalises the sum."""
        ...

    def normalize(self, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """Root mean square normalisation (arXiv:1910.07467) over the last dimension of [..., C]."""
        ...

    def rotate(self, qkv_TX: Tensor, num_heads: int, cos_TD: Tensor, sin_TD: Tensor) -> None:
        """Rotary positions (arXiv:2104.09864) of each row's first `num_heads` heads, in place.

        Halves are taken for pairs, as transformers lays them out.
        """
        ...

    def gate(self, activation: Any, gate_up: Tensor) -> Tensor:
        """[..., 2 F] to [..., F]: `activation(gate) * up`."""
        ...


class TorchOperations:
    """On any device."""

    decode: Decode | None = None
    short_span = 0

    def create_routing(self) -> Routing:
        """Batched products, and products of their own for longer runs."""
        return Routing()

    def adapter_dtype(self, base: LoadedBase) -> torch.dtype:
        """The model's."""
        return base.dtype

    def normalize(self, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """In one operation."""
        return functional.rms_norm(x, weight_C.shape, weight_C, eps)

    def add_and_normalize(self, x_TC: Tensor, change_TC: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """In two."""
        return self.normalize(x_TC.add_(change_TC), weight_C, eps)

    def rotate(self, qkv_TX: Tensor, num_heads: int, cos_TD: Tensor, sin_TD: Tensor) -> None:
        """In four."""
        dim = cos_TD.shape[-1]
        x_TXD = qkv_TX.view(len(qkv_TX), -1, dim)[:, :num_heads]
        half = dim // 2
        turned_TXD = torch.cat((-x_TXD[..., half:], x_TXD[..., :half]), dim=-1).mul_(sin_TD[:, None])
        x_TXD.mul_(cos_TD[:, None]).add_(turned_TXD)

    def gate(self, activation: Any, gate_up: Tensor) -> Tensor:
        """Whatever the activation is."""
        gate, up = gate_up.chunk(2, dim=-1)
        activated: Tensor = activation(gate)
        return activated.mul_(up)
