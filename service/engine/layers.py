"""Linear layers in which each row of a batch goes through its own adapter.

Shape legend: N rows (sequences), T tokens, I in_features, O out_features, R rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.dense import dense_weight
from base.shapes import module_shapes


@dataclass(frozen=True)
class LayerWeights:
    """One adapter's part in one linear layer."""

    a_RI: Tensor
    scaled_b_OR: Tensor
    """B times the adapter's scaling, folded in once at load."""
    ratio_O: Tensor | None
    """DoRA: learnt magnitude over the length of the summed weight; none for plain LoRA."""


@dataclass(frozen=True)
class Segment:
    """Rows `start` to `end` of the batch go through these layers; a module without an entry is the base's alone."""

    start: int
    end: int
    layers: Mapping[str, LayerWeights]


@dataclass
class Routing:
    """Which rows belong to which adapter in the forward pass under way; shared by all layers of one model."""

    segments: Sequence[Segment] = field(default_factory=tuple)
    num_rows: int = 1
    """Rows of the batch, so that a layer can tell rows from tokens."""


class MixedLinear(nn.Module):
    """A base linear layer followed by the adapters of the batch's segments."""

    def __init__(self, name: str, base: nn.Module, routing: Routing) -> None:
        super().__init__()
        self.base = base
        self._name = name
        self._routing = routing

    def forward(self, x_NTI: Tensor) -> Tensor:
        """[N, T, I] to [N, T, O], or [N*T, I] to [N*T, O] where the model lays rows end to end."""
        out_NTO: Tensor = self.base(x_NTI)
        # Some models flatten rows and tokens before a layer; a segment then is so many times longer.
        tokens_per_row, rest = divmod(x_NTI.shape[0], self._routing.num_rows)
        assert rest == 0, (
            f"{self._name}: {x_NTI.shape[0]} inputs cannot be told apart into {self._routing.num_rows} rows"
        )
        for segment in self._routing.segments:
            weights = segment.layers.get(self._name)
            if weights is not None:
                rows = slice(segment.start * tokens_per_row, segment.end * tokens_per_row)
                out_NTO[rows] = self._adapted(x_NTI[rows], out_NTO[rows], weights)
        return out_NTO

    def _adapted(self, x: Tensor, out: Tensor, weights: LayerWeights) -> Tensor:
        low = functional.linear(x.to(weights.a_RI.dtype), weights.a_RI)
        delta = functional.linear(low, weights.scaled_b_OR)
        if weights.ratio_O is None:
            return out + delta.to(out.dtype)
        bias = getattr(self.base, "bias", None)
        ratio_O = weights.ratio_O
        adapted: Tensor = ratio_O * (out + delta) if bias is None else ratio_O * (out - bias + delta) + bias
        return adapted.to(out.dtype)


def wrap(model: nn.Module, routing: Routing) -> dict[str, MixedLinear]:
    """Puts a `MixedLinear` around every linear layer but the output head; returns them by module name."""
    layers: dict[str, MixedLinear] = {}
    for name in module_shapes(model):
        parent, _, child = name.rpartition(".")
        layers[name] = MixedLinear(name, model.get_submodule(name), routing)
        setattr(model.get_submodule(parent), child, layers[name])
    return layers


def fold(
    base: nn.Module, a_RI: Tensor, b_OR: Tensor, magnitude_O: Tensor | None, scaling: float, device: torch.device
) -> LayerWeights:
    """Brings one layer's weights into the form that the batch uses.

    For DoRA the length of `W + scaling * B A` is computed here, from the base's dequantised weight.
    """
    a_RI, scaled_b_OR = a_RI.to(device), b_OR.to(device) * scaling
    ratio_O = None
    if magnitude_O is not None:
        ratio_O = magnitude_O.to(device) / (dense_weight(base) + scaled_b_OR @ a_RI).norm(dim=1)
    return LayerWeights(a_RI=a_RI, scaled_b_OR=scaled_b_OR, ratio_O=ratio_O)
