"""Autograd functions of the fused layers: each saves little and forms its gradients in as few passes as it can.

Shape legend: N rows, I in_features, F width of the MLP, C channels, H heads, D head dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.layers.group import Group, Matrices


@dataclass(frozen=True)
class Activation:
    """An elementwise function and `backward(grad, x)`, the gradient through it."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


SILU = Activation(functional.silu, torch.ops.aten.silu_backward)
GELU_TANH = Activation(
    lambda x: functional.gelu(x, approximate="tanh"),
    lambda grad, x: torch.ops.aten.gelu_backward(grad, x, approximate="tanh"),
)


@dataclass(frozen=True)
class GatedMlpLayers:
    """The layers of one MLP."""

    gate_up: Group
    down: Group
    activation: Activation


def project(group: Group, x_NI: Tensor, matrices: Matrices) -> tuple[Tensor, ...]:
    """The outputs of the group's layers; kept for backward: the input and the low-rank activations."""
    outs: tuple[Tensor, ...] = _Projection.apply(group, x_NI, *matrices)
    return outs


def gated_mlp(layers: GatedMlpLayers, x_NI: Tensor, gate_up_matrices: Matrices, down_matrices: Matrices) -> Tensor:
    """`down(activation(gate(x)) * up(x))`; the product in the middle is formed again in backward."""
    out_NI: Tensor = _GatedMlp.apply(layers, len(gate_up_matrices), x_NI, *gate_up_matrices, *down_matrices)
    return out_NI


def rms_norm(x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last dimension (arXiv:1910.07467); the weight is frozen."""
    if x.is_cuda:
        return functional.rms_norm(x, weight_C.shape, weight_C.to(x.dtype), eps)
    out: Tensor = _RmsNorm.apply(x, weight_C, eps)
    return out


def rotate(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864) with halves for pairs; cosines and sines [N, 1, D/2] once a pair."""
    out_NHD: Tensor = _Rotation.apply(x_NHD, cos_N1D, sin_N1D)
    return out_NHD


class _Projection(Function):
    @staticmethod
    def forward(ctx: Any, group: Group, x_NI: Tensor, *matrices: Tensor | None) -> tuple[Tensor, ...]:
        outs, lows = group.forward(x_NI, matrices)
        ctx.group, ctx.num_lows = group, len(lows)
        ctx.save_for_backward(x_NI, *lows, *matrices)
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, *others = ctx.saved_tensors
        lows, matrices = others[: ctx.num_lows], others[ctx.num_lows :]
        grad_NI, found = ctx.group.backward(x_NI, lows, grads, matrices, to_input=ctx.needs_input_grad[1])
        return (None, grad_NI, *found)


class _GatedMlp(Function):
    @staticmethod
    def forward(ctx: Any, layers: GatedMlpLayers, split: int, x_NI: Tensor, *matrices: Tensor | None) -> Tensor:
        (gate_NF, up_NF), lows = layers.gate_up.forward(x_NI, matrices[:split])
        inner_NF = layers.activation.forward(gate_NF).mul_(up_NF)
        (out_NI,), lows_down = layers.down.forward(inner_NF, matrices[split:])
        ctx.layers, ctx.split, ctx.num_lows = layers, split, (len(lows), len(lows_down))
        ctx.save_for_backward(x_NI, gate_NF, up_NF, *lows, *lows_down, *matrices)
        return out_NI

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, gate_NF, up_NF, *others = ctx.saved_tensors
        num_first, num_last = ctx.num_lows
        lows, lows_down = others[:num_first], others[num_first : num_first + num_last]
        matrices = others[num_first + num_last :]
        layers: GatedMlpLayers = ctx.layers
        active_NF = layers.activation.forward(gate_NF)
        inner_NF = active_NF * up_NF
        grad_NF, found_down = layers.down.backward(inner_NF, lows_down, grads, matrices[ctx.split :], to_input=True)
        assert grad_NF is not None
        del inner_NF
        grad_up_NF = active_NF.mul_(grad_NF)
        grad_gate_NF = layers.activation.backward(grad_NF.mul_(up_NF), gate_NF)
        grad_NI, found = layers.gate_up.backward(
            x_NI, lows, (grad_gate_NF, grad_up_NF), matrices[: ctx.split], to_input=ctx.needs_input_grad[2]
        )
        return (None, None, grad_NI, *found, *found_down)


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        wide = x.float() if x.dtype != torch.float64 else x
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, weight_C)
        out: Tensor = (wide * scale).mul_(weight_C).to(x.dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, scale, weight_C = ctx.saved_tensors
        wide = x.to(scale.dtype)
        grad = grads[0].to(scale.dtype) * weight_C
        along = torch.linalg.vecdot(grad, wide).unsqueeze(-1)
        factor = along.mul_(scale.pow(3)).div_(-x.shape[-1])
        return grad.mul_(scale).addcmul_(wide, factor).to(x.dtype), None, None


class _Rotation(Function):
    @staticmethod
    def forward(ctx: Any, x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
        ctx.save_for_backward(cos_N1D, sin_N1D)
        return _rotated(x_NHD, cos_N1D, sin_N1D, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos_N1D, sin_N1D = ctx.saved_tensors
        return _rotated(grads[0], cos_N1D, sin_N1D, -1), None, None


def _rotated(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor, direction: int) -> Tensor:
    first, second = x_NHD.chunk(2, dim=-1)
    out_NHD = torch.empty(x_NHD.shape, dtype=x_NHD.dtype, device=x_NHD.device)
    out_first, out_second = out_NHD.chunk(2, dim=-1)
    torch.mul(first, cos_N1D, out=out_first).addcmul_(second, sin_N1D, value=-direction)
    torch.mul(second, cos_N1D, out=out_second).addcmul_(first, sin_N1D, value=direction)
    return out_NHD
