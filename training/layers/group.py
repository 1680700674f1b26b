"""Linear layers that share an input, each with its low-rank branch: forward and backward as few large products.

Shape legend: N rows, I in_features, O out_features of one layer, R rank of one layer, S the ranks of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.layers.frozen import Frozen
from training.layers.products import Product

Matrices = Sequence[Tensor | None]
"""A and B of each layer in turn; nothing twice where a layer has no branch."""


@dataclass(frozen=True)
class Member:
    """One layer: `y = frozen(x) + scaling * B A x`."""

    frozen: Frozen
    scaling: float


@dataclass(frozen=True)
class Group:
    """The layers of one input, outside autograd; `training.layers.functions` puts them into it."""

    members: tuple[Member, ...]
    product: Product

    def forward(self, x_NI: Tensor, matrices: Matrices) -> tuple[list[Tensor], list[Tensor]]:
        """Each layer's output, and the scaled low-rank activations [N, R] of the adapted ones for `backward`."""
        outs = [member.frozen(x_NI) for member in self.members]
        adapted = _adapted(matrices)
        if not adapted:
            return outs, []
        low_NS = self.product(x_NI, _stacked(adapted, x_NI.dtype))
        lows = []
        for (index, _, b_OR), part_NR in zip(
            adapted, low_NS.split([len(a_RI) for _, a_RI, _ in adapted], 1), strict=True
        ):
            # Scaled into memory of its own: products of a slice of columns take thrice the time.
            low_NR = part_NR * self.members[index].scaling
            outs[index] = self.product(low_NR, b_OR.to(x_NI.dtype), None, outs[index])
            lows.append(low_NR)
        return outs, lows

    def backward(
        self, x_NI: Tensor, lows: Sequence[Tensor], grads: Sequence[Tensor], matrices: Matrices, *, to_input: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """The gradients of the input, where `to_input` asks for it, and of the matrices, in their order and dtypes."""
        found: list[Tensor | None] = [None] * len(matrices)
        adapted = _adapted(matrices)
        grad_lows = []
        for (index, _, b_OR), low_NR in zip(adapted, lows, strict=True):
            grad_NO = grads[index]
            grad_lows.append(self.product(grad_NO, b_OR.to(x_NI.dtype).t()).mul_(self.members[index].scaling))
            # B's gradient is formed transposed: the narrow operand must be the first one (a thousandfold in oneDNN).
            grad_b_RO = self.product(low_NR.t().contiguous(), grad_NO.t())
            found[2 * index + 1] = grad_b_RO.t().to(b_OR.dtype, memory_format=torch.contiguous_format)
        grad_low_NS = torch.cat(grad_lows, dim=1) if adapted else None
        if grad_low_NS is not None:
            grad_a_SI = self.product(grad_low_NS.t().contiguous(), x_NI.t())
            parts = grad_a_SI.split([len(a_RI) for _, a_RI, _ in adapted])
            for (index, a_RI, _), grad_a_RI in zip(adapted, parts, strict=True):
                found[2 * index] = grad_a_RI.to(a_RI.dtype)
        if not to_input:
            return None, found
        grad_NI: Tensor | None = None
        for member, grad_NO in zip(self.members, grads, strict=True):
            grad_NI = member.frozen.input_gradient(grad_NO, grad_NI)
        if grad_low_NS is not None:
            grad_NI = self.product(grad_low_NS, _stacked(adapted, x_NI.dtype).t(), None, grad_NI)
        return grad_NI, found


def _adapted(matrices: Matrices) -> list[tuple[int, Tensor, Tensor]]:
    """The layers that have a branch: which, A and B."""
    pairs = zip(matrices[::2], matrices[1::2], strict=True)
    return [(index, a_RI, b_OR) for index, (a_RI, b_OR) in enumerate(pairs) if a_RI is not None and b_OR is not None]


def _stacked(adapted: Sequence[tuple[int, Tensor, Tensor]], dtype: torch.dtype) -> Tensor:
    return torch.cat([a_RI for _, a_RI, _ in adapted]).to(dtype)
