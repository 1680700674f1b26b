"""A linear layer of int8 weights, its inputs quantised row by row: as `base.int8`, in one call and at memory's speed.

Shape legend: T tokens, I in_features, O out_features, N tiles of 48 outputs, K groups of four inputs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import prange
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.int8_tiles import GROUP, multiply_int8_tile
from service.engine.cpu.tiles import COLUMNS, ROWS

_TINY = np.float32(torch.finfo(torch.float32).tiny)
_INFINITY_BITS = 0x7F800000
_SIGN_BITS = 0x7FFFFFFF
_FEW_ROWS = 32
"""Quantised by one thread: to call the others takes longer."""


@dataclass(frozen=True)
class TiledWeight:
    """An int8 weight [O, I] laid out in tiles, its outputs and inputs filled up with zeros."""

    tiles: Array
    """uint8 [N, K, 48, 4], 128 added."""
    factor_I: Array
    """Each input is multiplied by it first."""
    scale_O: Array
    bias_O: Array
    out_features: int

    @classmethod
    def of(cls, weight_OI: Tensor, scale_O: Tensor, factor_I: Tensor, bias_O: Tensor | None) -> "TiledWeight":
        """Of int8 numbers, a float32 scale for each output, a factor for each input, and perhaps biases."""
        num_out, num_in = weight_OI.shape
        num_tiles, num_groups = -(-num_out // COLUMNS), -(-num_in // GROUP)
        filled = torch.zeros(num_tiles * COLUMNS, num_groups * GROUP, dtype=torch.int8)
        filled[:num_out, :num_in] = weight_OI
        # Flips the sign bit: the same as adding 128 and reading without sign.
        unsigned = filled.view(torch.uint8).bitwise_xor_(128)
        tiles = unsigned.view(num_tiles, COLUMNS, num_groups, GROUP).transpose(1, 2).contiguous()
        padding = num_tiles * COLUMNS - num_out
        bias = torch.zeros(num_out) if bias_O is None else bias_O.float()
        return cls(
            array(tiles),
            array(factor_I.float().contiguous()),
            array(torch.nn.functional.pad(scale_O.float(), (0, padding))),
            array(torch.nn.functional.pad(bias, (0, padding))),
            num_out,
        )

    def dense(self) -> Tensor:
        """The weight [O, I] in float32, scaled."""
        tiles = torch.from_numpy(self.tiles).bitwise_xor(128).view(torch.int8)
        whole = tiles.transpose(1, 2).reshape(tiles.shape[0] * COLUMNS, -1)
        kept_OI = whole[: self.out_features, : len(self.factor_I)].float()
        return kept_OI * torch.from_numpy(self.scale_O)[: self.out_features, None] * torch.from_numpy(self.factor_I)


def multiply(x_TI: Tensor, weight: TiledWeight) -> Tensor:
    """[T, O] of float32 [T, I]: `(q(x * factor) @ weight.T) * row_scale * scale + bias`.

    A row that holds what is not a finite number gives NaN.
    """
    out_TO = torch.empty(len(x_TI), weight.out_features)
    _multiply(array(x_TI), weight.factor_I, weight.tiles, weight.scale_O, weight.bias_O, array(out_TO))
    return out_TO


@compiled(exact=True)
def _quantize(x_I: Array, factor_I: Array, q_X: Array, sum_T: Array, scale_T: Array, row: int) -> None:
    scaled_I = np.empty(len(x_I), np.float32)
    for i in range(len(x_I)):
        scaled_I[i] = x_I[i] * factor_I[i]
    # Among the bits of magnitudes, integer order is theirs, and what is no number is above all: the loop needs no
    # comparison of floats, which would not be done several at once.
    bits_I, most = scaled_I.view(np.int32), np.int32(0)
    for i in range(len(x_I)):
        most = max(most, bits_I[i] & np.int32(_SIGN_BITS))
    q_X[:] = 0
    sum_T[row] = 0
    if most >= _INFINITY_BITS:
        scale_T[row] = np.float32(np.nan)
        return
    largest = np.empty(1, np.int32)
    largest[0] = most
    scale = max(largest.view(np.float32)[0] * np.float32(1 / 127), _TINY)
    total = np.int32(0)
    for i in range(len(x_I)):
        rounded = np.int8(np.rint(scaled_I[i] / scale))
        q_X[i] = rounded
        total += np.int32(rounded)
    sum_T[row] = total * np.int32(128)
    scale_T[row] = scale


@compiled(
    "void(float32[:, ::1], float32[::1], uint8[:, :, :, ::1], float32[::1], float32[::1], float32[:, ::1])", exact=True
)
def _multiply(x_TI: Array, factor_I: Array, tiles: Array, scale_O: Array, bias_O: Array, out_TO: Array) -> None:
    num_rows, num_out = out_TO.shape
    num_tiles, num_groups = tiles.shape[:2]
    width = num_groups * GROUP
    q_TX = np.empty((num_rows, width), np.int8)
    sum_T, scale_T = np.empty(num_rows, np.int32), np.empty(num_rows, np.float32)
    if num_rows <= _FEW_ROWS:
        for row in range(num_rows):
            _quantize(x_TI[row], factor_I, q_TX[row], sum_T, scale_T, row)
    else:
        for row in prange(num_rows):
            _quantize(x_TI[row], factor_I, q_TX[row], sum_T, scale_T, row)
    for tile in prange(num_tiles):
        column = tile * COLUMNS
        weight_at, scale_at = tiles.ctypes.data + tile * COLUMNS * width, scale_O.ctypes.data + 4 * column
        bias_at = bias_O.ctypes.data + 4 * column
        edge = np.empty((ROWS, COLUMNS), np.float32)
        whole = column + COLUMNS <= num_out
        for row in range(0, num_rows, ROWS):
            count = min(ROWS, num_rows - row)
            q_at, sum_at, row_scale_at = (
                q_TX.ctypes.data + row * width,
                sum_T.ctypes.data + 4 * row,
                scale_T.ctypes.data + 4 * row,
            )
            out_at, stride = out_TO.ctypes.data + 4 * (row * num_out + column), 4 * num_out
            if not whole:
                out_at, stride = edge.ctypes.data, 4 * COLUMNS
            multiply_int8_tile(  # type: ignore[call-arg]
                count, q_at, width, weight_at, num_groups, sum_at, row_scale_at, scale_at, bias_at, out_at, stride
            )
            if not whole:
                out_TO[row : row + count, column:] = edge[:count, : num_out - column]
