"""Norms, rotary positions and gated activations of a few rows, each one compiled function.

Shape legend: T tokens, C hidden size, X outputs of a joined layer, D head dimension, F features of the MLP.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.exponential import exponential

_FEW_ROWS = 64
"""Computed by one thread: to call the others takes longer."""
_ONE, _TWO = np.float32(1), np.float32(2)
_GELU_A, _GELU_B = np.float32(0.7978845608028654), np.float32(0.044715)


@compiled()
def _normalize_row(x_C: Array, weight_C: Array, eps: Any, out_C: Array) -> None:
    total = np.float32(0)
    for i in range(len(x_C)):
        total += x_C[i] * x_C[i]
    factor = _ONE / np.sqrt(total / np.float32(len(x_C)) + eps)
    for i in range(len(x_C)):
        out_C[i] = x_C[i] * factor * weight_C[i]


@compiled()
def _add_row(x_C: Array, change_C: Array) -> None:
    for i in range(len(x_C)):
        x_C[i] += change_C[i]


@compiled("void(float32[:, ::1], float32[::1], float32, float32[:, ::1])")
def _normalize(x_TC: Array, weight_C: Array, eps: Any, out_TC: Array) -> None:
    if len(x_TC) <= _FEW_ROWS:
        for row in range(len(x_TC)):
            _normalize_row(x_TC[row], weight_C, eps, out_TC[row])
    else:
        for row in prange(len(x_TC)):
            _normalize_row(x_TC[row], weight_C, eps, out_TC[row])


@compiled("void(float32[:, ::1], float32[:, ::1], float32[::1], float32, float32[:, ::1])")
def _add_and_normalize(x_TC: Array, change_TC: Array, weight_C: Array, eps: Any, out_TC: Array) -> None:
    if len(x_TC) <= _FEW_ROWS:
        for row in range(len(x_TC)):
            _add_row(x_TC[row], change_TC[row])
            _normalize_row(x_TC[row], weight_C, eps, out_TC[row])
    else:
        for row in prange(len(x_TC)):
            _add_row(x_TC[row], change_TC[row])
            _normalize_row(x_TC[row], weight_C, eps, out_TC[row])


@compiled()
def _rotate_row(qkv_X: Array, num_heads: int, cos_D: Array, sin_D: Array) -> None:
    half = len(cos_D) // 2
    for head in range(num_heads):
        first_H, second_H = qkv_X[2 * head * half :][:half], qkv_X[(2 * head + 1) * half :][:half]
        for i in range(half):
            first, second = first_H[i], second_H[i]
            first_H[i] = first * cos_D[i] - second * sin_D[i]
            second_H[i] = second * cos_D[half + i] + first * sin_D[half + i]


@compiled("void(float32[:, ::1], int64, float32[:, ::1], float32[:, ::1])")
def _rotate(qkv_TX: Array, num_heads: int, cos_TD: Array, sin_TD: Array) -> None:
    if len(qkv_TX) <= _FEW_ROWS:
        for row in range(len(qkv_TX)):
            _rotate_row(qkv_TX[row], num_heads, cos_TD[row], sin_TD[row])
    else:
        for row in prange(len(qkv_TX)):
            _rotate_row(qkv_TX[row], num_heads, cos_TD[row], sin_TD[row])


@compiled("void(float32[:, ::1], float32[:, ::1])")
def _gate_silu(gate_up_TX: Array, out_TF: Array) -> None:
    for row in prange(len(out_TF)):
        gate_F, up_F = gate_up_TX[row, : out_TF.shape[1]], gate_up_TX[row, out_TF.shape[1] :]
        for i in range(out_TF.shape[1]):
            out_TF[row, i] = gate_F[i] / (_ONE + exponential(-gate_F[i])) * up_F[i]


@compiled("void(float32[:, ::1], float32[:, ::1])")
def _gate_gelu_tanh(gate_up_TX: Array, out_TF: Array) -> None:
    for row in prange(len(out_TF)):
        gate_F, up_F = gate_up_TX[row, : out_TF.shape[1]], gate_up_TX[row, out_TF.shape[1] :]
        for i in range(out_TF.shape[1]):
            gate = gate_F[i]
            # (1 + tanh(z)) / 2 is the logistic function of 2 z.
            twice = _TWO * _GELU_A * (gate + _GELU_B * gate * gate * gate)
            out_TF[row, i] = gate / (_ONE + exponential(-twice)) * up_F[i]


def normalize(x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
    """Root mean square normalisation over the last dimension of [..., C]."""
    x_TC = x.reshape(-1, len(weight_C))
    out_TC = torch.empty_like(x_TC)
    _normalize(array(x_TC), array(weight_C), eps, array(out_TC))
    return out_TC.view(x.shape)


def add_and_normalize(x_TC: Tensor, change_TC: Tensor, weight_C: Tensor, eps: float) -> Tensor:
    """Adds `change_TC` to `x_TC` in place and normalises the sum."""
    out_TC = torch.empty_like(x_TC)
    _add_and_normalize(array(x_TC), array(change_TC), array(weight_C), eps, array(out_TC))
    return out_TC


def rotate(qkv_TX: Tensor, num_heads: int, cos_TD: Tensor, sin_TD: Tensor) -> None:
    """Rotates each row's first `num_heads` heads in place, with halves for pairs."""
    _rotate(array(qkv_TX), num_heads, array(cos_TD), array(sin_TD))


def gate_silu(gate_up: Tensor) -> Tensor:
    """[..., 2 F] to [..., F]: `silu(gate) * up`."""
    return _gated(_gate_silu, gate_up)


def gate_gelu_tanh(gate_up: Tensor) -> Tensor:
    """[..., 2 F] to [..., F]: `gelu(gate) * up`, with GELU's approximation by tanh."""
    return _gated(_gate_gelu_tanh, gate_up)


def _gated(kernel: Any, gate_up: Tensor) -> Tensor:
    num_features = gate_up.shape[-1] // 2
    out_TF = torch.empty(gate_up.numel() // gate_up.shape[-1], num_features)
    kernel(array(gate_up.reshape(len(out_TF), 2 * num_features)), array(out_TF))
    return out_TF.view(*gate_up.shape[:-1], num_features)
