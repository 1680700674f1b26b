"""Attention of single tokens to the pages of their sequences.

Shape legend: B tokens, H query heads, K key-value heads, G = H / K, D head dimension, S slots of the cache, P pages of
the longest sequence, L tokens seen.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.exponential import exponential
from service.engine.cpu.float_tiles import add_product, dot_products


def paged_decode(
    q_BHD: Tensor,
    cache_S2KD: Tensor,
    tables_BP: Tensor,
    lengths_B: Tensor,
    scale: float,
    page_tokens: int,
    window: int | None = None,
) -> Tensor:
    """[B, H, D]; a row of length 0 gives zeros. Nothing is copied out of the cache."""
    out_BHD = torch.empty(q_BHD.shape)
    pages = (array(tables_BP), array(lengths_B), page_tokens)
    _decode(array(q_BHD), array(cache_S2KD), *pages, scale, window or 0, array(out_BHD))
    return out_BHD


@compiled()
def _scores(
    q_GD: Array, cache_S2KD: Array, table_P: Array, page_tokens: int, head: int, first: int, score_LG: Array
) -> None:
    for at in range(len(score_LG)):
        position = first + at
        slot = table_P[position // page_tokens] * page_tokens + position % page_tokens
        dot_products(q_GD, cache_S2KD[slot, 0, head], score_LG[at])


@compiled()
def _mix(
    share_GL: Array, cache_S2KD: Array, table_P: Array, page_tokens: int, head: int, first: int, out_GD: Array
) -> None:
    num_seen = share_GL.shape[1]
    at = 0
    while at < num_seen:
        # As far as the page goes: its values lie at equal distances.
        position = first + at
        count = min(num_seen - at, page_tokens - position % page_tokens)
        slot = table_P[position // page_tokens] * page_tokens + position % page_tokens
        add_product(share_GL[:, at : at + count], cache_S2KD[slot : slot + count, 1, head], out_GD)
        at += count


@compiled()
def _softmax(score_L: Array) -> None:
    if not len(score_L):
        return
    largest = score_L[0]
    for i in range(len(score_L)):
        largest = score_L[i] if score_L[i] > largest else largest
    total = np.float32(0)
    for i in range(len(score_L)):
        score_L[i] = exponential(score_L[i] - largest)
        total += score_L[i]
    for i in range(len(score_L)):
        score_L[i] /= total


@compiled(
    "void(float32[:, :, :], float32[:, :, :, ::1], int32[:, ::1], int64[::1],"
    " int64, float32, int64, float32[:, :, ::1])"
)
def _decode(
    q_BHD: Array,
    cache_S2KD: Array,
    tables_BP: Array,
    lengths_B: Array,
    page_tokens: int,
    scale: Any,
    window: int,
    out_BHD: Array,
) -> None:
    num_rows, num_heads, dim = q_BHD.shape
    num_kv = cache_S2KD.shape[2]
    num_groups = num_heads // num_kv
    for item in prange(num_rows * num_kv):
        row, head = item // num_kv, item % num_kv
        heads = slice(head * num_groups, (head + 1) * num_groups)
        first = max(0, lengths_B[row] - window) if window else 0
        q_GD = np.empty((num_groups, dim), np.float32)
        q_GD[:] = q_BHD[row, heads] * scale
        score_LG = np.empty((lengths_B[row] - first, num_groups), np.float32)
        _scores(q_GD, cache_S2KD, tables_BP[row], page_tokens, head, first, score_LG)
        score_GL = np.ascontiguousarray(score_LG.T)
        for group in range(num_groups):
            _softmax(score_GL[group])
        out_BHD[row, heads] = 0
        _mix(score_GL, cache_S2KD, tables_BP[row], page_tokens, head, first, out_BHD[row, heads])
