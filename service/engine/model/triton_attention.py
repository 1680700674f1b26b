# mypy: allow-untyped-decorators
"""A Triton kernel for decoding: one query token a sequence against its keys and values in the paged cache.

The context of every sequence is split evenly (flash decoding, https://pytorch.org/blog/flash-decoding), so that one
long sequence does not keep a single multiprocessor busy; a second kernel joins the parts in a fixed order. Equal calls
give equal bits. The grids depend on shapes alone, so both kernels can be captured in a CUDA graph.

Shape legend: B rows (sequences), H query heads, K key-value heads, G = H / K, D head_dim, S token slots of the cache
(pages * page_tokens), P pages of a block table, N parts of a context.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_PARTS = 64
"""Parts of a context at most; the second kernel holds all of them at once."""
_MIN_PARTS = 8
"""However many rows there are: one of them may be much longer than the others."""
_MIN_PART_TOKENS = 128
"""Tokens below which a part of its own costs more than it saves."""
_BLOCK_BYTES = 16384
"""Of the keys that a program holds at once, which bounds registers and shared memory."""
_WANTED_PROGRAMS = 1024
"""Some eight for each multiprocessor of a large device."""


def paged_decode(
    q_BHD: Tensor,
    cache_S2KD: Tensor,
    tables_BP: Tensor,
    lengths_B: Tensor,
    scale: float,
    page_tokens: int,
    window: int | None = None,
) -> Tensor:
    """Attention of each row's query to the row's own tokens: `[B, H, D]` in the queries' dtype.

    Args:
        q_BHD: any row and head strides; query heads of one key-value head side by side.
        cache_S2KD: keys and values of one layer, contiguous.
        tables_BP: the rows' page ids, in order; what lies beyond a row's length is not read.
        lengths_B: tokens that each row sees, its own included, whose keys and values are in the cache; 0 gives zeros.
        scale: factor of the scores.
        page_tokens: tokens a page.
        window: a row sees so many of its last tokens at most.
    """
    (num_rows, num_heads, head_dim), num_kv = q_BHD.shape, cache_S2KD.shape[2]
    assert cache_S2KD.shape[1:] == (2, num_kv, head_dim)
    assert num_heads % num_kv == 0
    assert (q_BHD.stride(2), tables_BP.stride(1), cache_S2KD.is_contiguous()) == (1, 1, True)
    max_tokens = tables_BP.shape[1] * page_tokens
    num_parts = _num_parts(num_rows * num_kv, max_tokens if window is None else min(window, max_tokens))
    block_d = max(16, triton.next_power_of_2(head_dim))
    partial_BHND = torch.empty(num_rows, num_heads, num_parts, head_dim, dtype=torch.float32, device=q_BHD.device)
    weight_BHN = torch.empty(num_rows, num_heads, num_parts, dtype=torch.float32, device=q_BHD.device)
    out_BHD = torch.empty(num_rows, num_heads, head_dim, dtype=q_BHD.dtype, device=q_BHD.device)
    if num_rows == 0:
        return out_BHD
    _attend_kernel[num_rows, num_kv, num_parts](
        *(q_BHD, cache_S2KD, tables_BP, lengths_B, partial_BHND, weight_BHN, scale * math.log2(math.e), window),
        *(q_BHD.stride(0), q_BHD.stride(1), tables_BP.stride(0), num_kv),
        GROUP=num_heads // num_kv,
        HEAD_DIM=head_dim,
        PAGE_TOKENS=page_tokens,
        NUM_PARTS=num_parts,
        MIN_PART=_MIN_PART_TOKENS,
        BLOCK_G=max(16, triton.next_power_of_2(num_heads // num_kv)),
        BLOCK_D=block_d,
        BLOCK_N=max(16, min(64, _BLOCK_BYTES // (block_d * cache_S2KD.itemsize))),
        num_warps=4,
        num_stages=3 if cache_S2KD.itemsize == 2 else 2,
        enable_fp_fusion=True,
    )
    _join_kernel[num_rows, num_heads](
        *(partial_BHND, weight_BHN, lengths_B, out_BHD, window),
        HEAD_DIM=head_dim,
        NUM_PARTS=num_parts,
        MIN_PART=_MIN_PART_TOKENS,
        BLOCK_D=block_d,
        num_warps=4,
        enable_fp_fusion=True,
    )
    return out_BHD


def _num_parts(num_programs: int, max_tokens: int) -> int:
    """A power of two: enough parts to fill the device, none shorter than is worth while."""
    wanted = max(_MIN_PARTS, triton.next_power_of_2(triton.cdiv(_WANTED_PROGRAMS, num_programs or 1)))
    possible = triton.next_power_of_2(triton.cdiv(max_tokens, _MIN_PART_TOKENS))
    return int(min(wanted, possible, MAX_PARTS))


@triton.jit
def _seen(lengths_ptr: tl.tensor, window: tl.tensor, NUM_PARTS: tl.constexpr, MIN_PART: tl.constexpr) -> tl.tensor:
    """What the program's row sees: first token, end, and tokens of each part but the last."""
    end = tl.load(lengths_ptr + tl.program_id(0)).to(tl.int32)
    first = end * 0
    if window is not None:
        first = tl.maximum(end - window, 0)
    part = tl.cdiv(tl.cdiv(end - first, NUM_PARTS), MIN_PART) * MIN_PART
    return first, end, part


@triton.jit
def _attend_kernel(
    q_ptr: tl.tensor,
    cache_ptr: tl.tensor,
    tables_ptr: tl.tensor,
    lengths_ptr: tl.tensor,
    partial_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    scale: tl.tensor,
    window: tl.tensor,
    q_row_stride: tl.tensor,
    q_head_stride: tl.tensor,
    table_stride: tl.tensor,
    num_kv: tl.tensor,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_TOKENS: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    MIN_PART: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Online softmax of one part of a row's context, for all query heads of one key-value head.

    Grid (rows, key-value heads, parts). Writes the part's mean value and the logarithm of its weight, base 2; parts
    that the row is too short for end at once and write nothing.
    """
    first, end, part = _seen(lengths_ptr, window, NUM_PARTS, MIN_PART)
    begin = first + tl.program_id(2) * part
    end = tl.minimum(begin + part, end)
    if begin >= end:
        return
    row = tl.program_id(0).to(tl.int64)
    g = tl.arange(0, BLOCK_G)
    d = tl.arange(0, BLOCK_D)
    heads = tl.program_id(1) * GROUP + g
    is_query = (g < GROUP)[:, None] & (d < HEAD_DIM)[None, :]
    q = tl.load(q_ptr + row * q_row_stride + heads[:, None] * q_head_stride + d[None, :], mask=is_query, other=0.0)
    largest = tl.full((BLOCK_G,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_G,), dtype=tl.float32)
    mean = tl.zeros((BLOCK_G, BLOCK_D), dtype=tl.float32)
    for at in range(begin, end, BLOCK_N):
        tokens = at + tl.arange(0, BLOCK_N)
        is_seen = tokens < end
        pages = tl.load(tables_ptr + row * table_stride + tokens // PAGE_TOKENS, mask=is_seen, other=0).to(tl.int64)
        slots = pages * PAGE_TOKENS + tokens % PAGE_TOKENS
        k_ptrs = cache_ptr + slots[:, None] * (2 * num_kv * HEAD_DIM) + (tl.program_id(1) * HEAD_DIM + d)[None, :]
        is_key = is_seen[:, None] & (d < HEAD_DIM)[None, :]
        k = tl.load(k_ptrs, mask=is_key, other=0.0)
        v = tl.load(k_ptrs + num_kv * HEAD_DIM, mask=is_key, other=0.0)
        scores = tl.dot(q.to(k.dtype), tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(is_seen[None, :], scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, axis=1))
        shrinking = tl.exp2(largest - larger)
        weights = tl.exp2(scores - larger[:, None])
        total = total * shrinking + tl.sum(weights, axis=1)
        mean = tl.dot(weights.to(v.dtype), v, mean * shrinking[:, None], input_precision="ieee")
        largest = larger
    at = (row * num_kv * GROUP + heads) * NUM_PARTS + tl.program_id(2)
    tl.store(partial_ptr + at[:, None] * HEAD_DIM + d[None, :], mean / total[:, None], mask=is_query)
    tl.store(weight_ptr + at, largest + tl.log2(total), mask=g < GROUP)


@triton.jit
def _join_kernel(
    partial_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    lengths_ptr: tl.tensor,
    out_ptr: tl.tensor,
    window: tl.tensor,
    HEAD_DIM: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    MIN_PART: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Weighted mean of a row's parts, for one query head; zeros for a row without tokens. Grid (rows, query heads)."""
    first, end, part = _seen(lengths_ptr, window, NUM_PARTS, MIN_PART)
    n = tl.arange(0, NUM_PARTS)
    d = tl.arange(0, BLOCK_D)
    is_part = first + n * part < end
    head = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    # Finite, because a row without any part would subtract infinity from itself.
    logs = tl.load(weight_ptr + head * NUM_PARTS + n, mask=is_part, other=-1e38)
    weights = tl.where(is_part, tl.exp2(logs - tl.max(logs, axis=0)), 0.0)
    partial = tl.load(
        partial_ptr + (head * NUM_PARTS + n)[:, None] * HEAD_DIM + d[None, :],
        mask=is_part[:, None] & (d < HEAD_DIM)[None, :],
        other=0.0,
    )
    total = tl.maximum(tl.sum(weights, axis=0), 1e-30)
    out = tl.sum(partial * weights[:, None], axis=0) / total
    tl.store(out_ptr + head * HEAD_DIM + d, out.to(out_ptr.dtype.element_ty), mask=d < HEAD_DIM)
