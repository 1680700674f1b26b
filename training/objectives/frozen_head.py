"""The likelihood of labelled tokens under a frozen output head, with its gradient formed in the forward pass.

Shape legend: L labelled positions, N of them in one chunk, C channels, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from training.layers.frozen import Frozen

_CHUNK_BYTES = 32 << 20
"""Of the logits of one chunk in float32."""


def head_nll(hidden_LC: Tensor, targets_L: Tensor, head: Frozen) -> Tensor:
    """`-log softmax(head(hidden))[target]` of each position, [L] in float32.

    Of the logits no more than a chunk ever exists: `dH = (softmax - onehot) W` is formed while it does, and nothing
    but dH [L, C] is kept for backward.
    """
    nll_L: Tensor = _HeadNll.apply(hidden_LC, targets_L, head)
    return nll_L


class _HeadNll(Function):
    @staticmethod
    def forward(ctx: Any, hidden_LC: Tensor, targets_L: Tensor, head: Frozen) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        grad_LC = torch.empty_like(hidden_LC) if wanted else None
        dtype = torch.promote_types(hidden_LC.dtype, torch.float32)
        nll_L = hidden_LC.new_empty(len(hidden_LC), dtype=dtype)
        chunk = max(16, _CHUNK_BYTES // (4 * head.out_features))
        for start in range(0, len(hidden_LC), chunk):
            rows = slice(start, start + chunk)
            targets_N1 = targets_L[rows, None]
            log_p_NV = head(hidden_LC[rows]).to(dtype).log_softmax(dim=-1)
            nll_L[rows] = -log_p_NV.gather(1, targets_N1)[:, 0]
            if grad_LC is not None:
                p_NV = log_p_NV.exp_()
                p_NV.scatter_add_(1, targets_N1, torch.full_like(targets_N1, -1, dtype=p_NV.dtype))
                grad_LC[rows] = head.input_gradient(p_NV.to(hidden_LC.dtype))
        if grad_LC is not None:
            ctx.save_for_backward(grad_LC)
        return nll_L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad_LC,) = ctx.saved_tensors
        return grad_LC * grads[0][:, None].to(grad_LC.dtype), None, None
