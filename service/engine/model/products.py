"""The base's part of a linear layer, or of several that share an input, as one product.

Shape legend: T tokens, I in_features, O out_features of all parts together.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.dense import dense_weight
from base.int8 import Int8Linear, int8_product
from service.engine.cpu import int8_tiles


class Product(Protocol):
    """`product(x_TI) -> [T, O]`, the parts' outputs side by side, biases added."""

    bias_O: Tensor | None

    def __call__(self, x_TI: Tensor) -> Tensor:
        """Never the same memory as an earlier result: adapters add to it in place."""
        ...

    def dense(self) -> Tensor:
        """The weight [O, I] in float32, dequantised where it is quantised."""
        ...


class SeparateProduct:
    """Each part as it is, whatever it is; the results are put side by side."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._parts = parts
        self.bias_O = _bias(parts)

    def __call__(self, x_TI: Tensor) -> Tensor:
        """One product a part."""
        outs = [part(x_TI) for part in self._parts]
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=-1)

    def dense(self) -> Tensor:
        """The parts' weights one above the other."""
        return torch.cat([dense_weight(part) for part in self._parts])


class DenseProduct:
    """One weight of all parts, in the model's dtype."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        self._weight_OI = torch.cat([_weight(part) for part in parts])
        self.bias_O = _bias(parts)

    def __call__(self, x_TI: Tensor) -> Tensor:
        """One product."""
        return functional.linear(x_TI, self._weight_OI, self.bias_O)

    def dense(self) -> Tensor:
        """The weight."""
        return self._weight_OI.float()


class PackedProduct:
    """One float32 weight of all parts in oneDNN's own layout: on AVX-512 processors less than half of MKL's time.

    The weight is laid out for `_PACKED_FOR` tokens; other numbers of tokens work too.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        weight_OI = torch.cat([_weight(part) for part in parts])
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, _PACKED_FOR)
        self.bias_O = _bias(parts)

    def __call__(self, x_TI: Tensor) -> Tensor:
        """One product."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x_TI, self._packed, self.bias_O, "none", [], "")
        return out

    def dense(self) -> Tensor:
        """The weight, put back into rows."""
        dense: Tensor = self._packed.to_dense()
        return dense


class Int8Product:
    """One int8 weight of all parts: exact integer products, scales per activation row and per channel."""

    def __init__(self, parts: Sequence[Int8Linear]) -> None:
        self._weight_IO = torch.cat([part.weight_q for part in parts]).t()
        self._scale_O = torch.cat([part.channel_scale for part in parts])
        self._factor_I = parts[0].input_factor
        self.bias_O = _bias(parts)

    def __call__(self, x_TI: Tensor) -> Tensor:
        """One product."""
        out_TO = int8_product(x_TI.float() * self._factor_I, self._weight_IO, self._scale_O)
        return (out_TO if self.bias_O is None else out_TO.add_(self.bias_O)).to(x_TI.dtype)

    def dense(self) -> Tensor:
        """The dequantised weight."""
        return self._weight_IO.t().float() * self._scale_O[:, None] * self._factor_I


class TiledInt8Product:
    """As `Int8Product` and equal to the bit, with the weight in tiles for processors that multiply int8 numbers."""

    def __init__(self, parts: Sequence[Int8Linear]) -> None:
        # Not at the top, because it is compiled for this processor when it is first imported.
        from service.engine.cpu.int8_product import TiledWeight, multiply

        self.bias_O = _bias(parts)
        self._multiply = multiply
        self._weight = TiledWeight.of(
            torch.cat([part.weight_q for part in parts]),
            torch.cat([part.channel_scale for part in parts]),
            parts[0].input_factor,
            self.bias_O,
        )

    def __call__(self, x_TI: Tensor) -> Tensor:
        """One product."""
        return self._multiply(x_TI.float().contiguous(), self._weight).to(x_TI.dtype)

    def dense(self) -> Tensor:
        """The dequantised weight."""
        return self._weight.dense()


def create_product(parts: Sequence[nn.Module], *, packed: bool) -> Product:
    """The fastest product for what the parts are; `packed` keeps weights in a kernel's own layout if there is one."""
    int8 = [part for part in parts if isinstance(part, Int8Linear)]
    if len(int8) == len(parts) and all(torch.equal(part.input_factor, int8[0].input_factor) for part in int8):
        return TiledInt8Product(int8) if packed and int8_tiles.available() else Int8Product(int8)
    plain = all(type(part) is nn.Linear for part in parts)
    if plain and packed and all(part.weight.dtype == torch.float32 for part in parts):
        return PackedProduct(parts)
    return DenseProduct(parts) if plain and len(parts) > 1 else SeparateProduct(parts)


_PACKED_FOR = 16


def _weight(part: nn.Module) -> Tensor:
    weight = part.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _bias(parts: Sequence[nn.Module]) -> Tensor | None:
    biases = [getattr(part, "bias", None) for part in parts]
    if all(bias is None for bias in biases):
        return None
    sizes = [int(part.out_features) for part in parts]  # type: ignore[arg-type]
    known = next(bias for bias in biases if bias is not None)
    filled = [known.new_zeros(size) if bias is None else bias for bias, size in zip(biases, sizes, strict=True)]
    return torch.cat(filled).detach()
