"""An int8 linear layer for the CPU: weights per output channel, activations per row.

Input channels are first brought nearer to one size (`base.smoothing`). Each activation row is quantised by its own
largest magnitude and the integer products are exact, so a row's result does not depend on what else is in the batch.
(`torch.ao`'s dynamic linear takes one scale for the whole batch, and LLM.int8 on CPU moves logits with the batch; both
are refused for that reason.)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from base.smoothing import input_factors

_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """`y[N, out] = (q(x * input_factor)[N, in] @ w_q[out, in].T) * row_scale * channel_scale + bias`, frozen.

    The gradient reaches `x` through the dequantised weight, as if the rounding of activations were the identity.
    """

    weight_q: Tensor
    channel_scale: Tensor
    input_factor: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, input_factor: Tensor | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        factor = torch.ones(linear.in_features) if input_factor is None else input_factor
        weight = linear.weight.detach().float() / factor
        scale = (weight.abs().amax(dim=1) / 127).clamp_min(_TINY)
        self.register_buffer("input_factor", factor)
        self.register_buffer("weight_q", (weight / scale[:, None]).round().clamp_(-127, 127).to(torch.int8))
        self.register_buffer("channel_scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    @property
    def weight(self) -> Tensor:
        """The dequantised weight [out, in], float32, made anew at each call."""
        return self.weight_q.float() * self.channel_scale[:, None] * self.input_factor

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], in the dtype of `x`."""
        rows = x.reshape(-1, self.in_features) * self.input_factor
        out: Tensor = _Int8Product.apply(rows, self.weight_q, self.channel_scale)
        if self.bias is not None:
            out = out + self.bias
        return out.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """The sizes, as `nn.Linear` prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def int8_product(rows: Tensor, weight_t: Tensor, channel_scale: Tensor) -> Tensor:
    """`rows[N, in]` in float32 by int8 `weight_t[in, out]`: a scale for each row, integers summed exactly."""
    row_scale = rows.abs().amax(dim=1, keepdim=True).mul_(1 / 127).clamp_min_(_TINY)
    rows_q = (rows / row_scale).round_().to(torch.int8)
    return torch.mul(torch._int_mm(rows_q, weight_t), row_scale).mul_(channel_scale)


class _Int8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight_q: Tensor, channel_scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight_q, channel_scale)
        return int8_product(rows.float(), weight_q.t(), channel_scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        weight_q, channel_scale = ctx.saved_tensors
        return (grads[0].float() * channel_scale) @ weight_q.float(), None, None


def replace_linears(model: nn.Module, keep: frozenset[str], token_ids: Sequence[int] = ()) -> None:
    """Replaces every `nn.Linear` of `model` by an `Int8Linear`, but those whose name is in `keep`.

    Args:
        model: a causal language model in float32.
        keep: layers that stay as they are.
        token_ids: a text over which the layers' inputs are measured; none: they are taken to be of one size.
    """
    linears = {name: module for name, module in model.named_modules() if type(module) is nn.Linear and name not in keep}
    factors = input_factors(model, linears, token_ids) if token_ids else {}
    for name, linear in linears.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, Int8Linear(linear, factors.get(name)))
