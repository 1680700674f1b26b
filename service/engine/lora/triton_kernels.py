# mypy: allow-untyped-decorators
"""Triton kernels for a step whose rows go through different adapters: shrink to the ranks, expand into the output.

Weights lie in static stacks, one for each group of modules that read the same input (query, key and value, say). The
group's A holds its modules' *parts* side by side, one width of columns each; B, with the adapter's scaling folded in,
is cut into *pieces* of equally many output columns, each of one part. A slot's active rank may differ from part to part
and be zero; what a stack holds beyond it never counts, so it may be anything. Products accumulate in float32; float32
operands are not cut to TF32.

Neither kernel uses atomics: equal steps give equal bits, and a row's own result does not depend on other rows.

Shape legend: T rows of the step, I in_features, O out_features of all parts, S slots, N parts, W width (largest rank
of a part), R ranks of all parts side by side, P pieces, F features of a piece, E entries, K partial sums.
`DeviceGroups` says what entries and tiles are.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from service.engine.lora.device_groups import ROW_TILE_FIELDS, TILE_FIELDS, DeviceGroups
from service.engine.lora.slots import Stack

MAX_SPLITS = 8
"""Partial sums of a shrink at most: each is read back by every program of the expand."""
MIN_SPLIT_COLUMNS = 512
"""Input columns below which a partial sum of its own costs more than it saves."""
RANK_UNIT = 8
"""Widths and rank offsets are multiples of it: in half precision sixteen bytes, which a thread loads at once."""
_WIDE_BLOCK = 64
"""Tiles of this many entries mean a prompt: enough of them to fill the device without splitting."""


def add_changes(x_TI: Tensor, out_TO: Tensor, stack: Stack, groups: DeviceGroups) -> None:
    """Adds what the step's adapters change in one group of modules to the base's output, in place."""
    low_KER = shrink(x_TI, stack.a_SIR, stack.ranks_SN, groups)
    expand_add(low_KER, stack.b_SPRF, stack.parts_P, stack.ranks_SN, groups, out_TO)


def shrink(x_TI: Tensor, a_SIR: Tensor, ranks_SN: Tensor, groups: DeviceGroups) -> Tensor:
    """Every entry's row times its slot's A: partial sums in float32, `[K, E, R]`, for `expand_add` alone to read.

    Columns beyond a slot's active rank and entries beyond the step's own are left as they were allocated.

    Args:
        x_TI: any row stride.
        a_SIR: contiguous; the parts, all of one width, side by side; the width is a multiple of `RANK_UNIT`.
        ranks_SN: active rank of each slot's parts, int32 and contiguous.
        groups: of the step.
    """
    (num_slots, num_inputs, num_ranks), num_parts = a_SIR.shape, ranks_SN.shape[1]
    assert (x_TI.shape[1], x_TI.stride(1)) == (num_inputs, 1)
    assert a_SIR.is_contiguous()
    assert ranks_SN.is_contiguous()
    assert ranks_SN.shape[0] == num_slots
    assert num_ranks % (num_parts * RANK_UNIT) == 0
    wide = groups.capacity.block_m >= _WIDE_BLOCK
    num_splits = 1 if wide else max(1, min(MAX_SPLITS, num_inputs // MIN_SPLIT_COLUMNS))
    width = num_ranks // num_parts
    block_r = min(max(16, triton.next_power_of_2(width)), 64 if wide and a_SIR.itemsize == 2 else 32)
    num_entries = groups.capacity.num_entries
    low_KER = torch.empty(num_splits, num_entries, num_ranks, dtype=torch.float32, device=x_TI.device)
    if groups.num_tiles:
        _shrink_kernel[groups.num_tiles, num_parts * triton.cdiv(width, block_r), num_splits](
            *(x_TI, a_SIR, low_KER, ranks_SN, groups.tiles_T3, groups.entry_rows_E),
            *(num_inputs, x_TI.stride(0), num_entries),
            NUM_FIELDS=TILE_FIELDS,
            NUM_PARTS=num_parts,
            WIDTH=width,
            RANK_UNIT=RANK_UNIT,
            NUM_SPLITS=num_splits,
            BLOCK_M=groups.capacity.block_m,
            BLOCK_K=64 if wide else 128,
            BLOCK_R=block_r,
            num_warps=4,
            num_stages=3,
            enable_fp_fusion=True,
        )
    return low_KER


def expand_add(
    low_KER: Tensor, b_SPWF: Tensor, parts_P: Tensor, ranks_SN: Tensor, groups: DeviceGroups, out_TO: Tensor
) -> None:
    """Adds the deltas of all parts to the base's output, in place.

    A row's entries are summed, each times its scale, before they meet the output: it is rounded once.

    Args:
        low_KER: what `shrink` gave.
        b_SPWF: contiguous; piece p makes the output's columns from p * F on.
        parts_P: the part of each piece, int32.
        ranks_SN: what `shrink` took.
        groups: of the step, those that `shrink` took.
        out_TO: any row stride.
    """
    _, num_pieces, width, num_columns = b_SPWF.shape
    num_splits, num_entries, num_ranks = low_KER.shape
    assert b_SPWF.is_contiguous()
    assert (out_TO.shape[1], out_TO.stride(1)) == (num_pieces * num_columns, 1)
    assert (len(parts_P), num_ranks) == (num_pieces, width * ranks_SN.shape[1])
    wide = groups.capacity.block_m >= _WIDE_BLOCK
    block_n = 128 if wide else 64
    if groups.num_row_tiles:
        _expand_kernel[groups.num_row_tiles, num_pieces * triton.cdiv(num_columns, block_n)](
            *(low_KER, b_SPWF, out_TO, parts_P, ranks_SN, groups.row_tiles_LF, groups.rows_N, groups.row_entries_KN),
            *(groups.entry_scales_E, num_columns, num_pieces, num_entries, groups.capacity.rows, out_TO.stride(0)),
            FIRST_SLOT=ROW_TILE_FIELDS,
            NUM_FIELDS=groups.row_tiles_LF.shape[1],
            NUM_SPLITS=num_splits,
            NUM_PARTS=ranks_SN.shape[1],
            WIDTH=width,
            RANK_UNIT=RANK_UNIT,
            BLOCK_M=groups.capacity.block_m,
            BLOCK_R=16 if width <= 16 else 32,
            BLOCK_N=block_n,
            num_warps=4,
            num_stages=2,
            enable_fp_fusion=True,
        )


@triton.jit
def _shrink_kernel(
    x_ptr: tl.tensor,
    a_ptr: tl.tensor,
    low_ptr: tl.tensor,
    ranks_ptr: tl.tensor,
    tiles_ptr: tl.tensor,
    entry_rows_ptr: tl.tensor,
    num_inputs: tl.tensor,
    x_stride: tl.tensor,
    num_entries: tl.tensor,
    NUM_FIELDS: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    RANK_UNIT: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
) -> None:
    """Multiplies one tile's rows by one block of one part's columns of A, over a share of the input's columns.

    Grid (tiles, parts * blocks of ranks, splits). Empty tiles and inactive ranks end at once.
    """
    slot = tl.load(tiles_ptr + tl.program_id(0) * NUM_FIELDS).to(tl.int64)
    first = tl.load(tiles_ptr + tl.program_id(0) * NUM_FIELDS + 1)
    count = tl.load(tiles_ptr + tl.program_id(0) * NUM_FIELDS + 2)
    NUM_RANKS: tl.constexpr = NUM_PARTS * WIDTH
    BLOCKS_PER_PART: tl.constexpr = (WIDTH + BLOCK_R - 1) // BLOCK_R
    part = tl.program_id(1) // BLOCKS_PER_PART
    first_rank = tl.program_id(1) % BLOCKS_PER_PART * BLOCK_R
    rank = tl.load(ranks_ptr + slot * NUM_PARTS + part)
    if (count == 0) | (first_rank >= rank):
        return
    # Rounded up, so that the compiler sees whole units loaded at once; the expand leaves out what is not active.
    num_loaded = tl.cdiv(rank, RANK_UNIT) * RANK_UNIT
    m = tl.arange(0, BLOCK_M)
    r = first_rank + tl.arange(0, BLOCK_R)
    is_loaded = r < num_loaded
    columns = part * WIDTH + r
    rows = tl.load(entry_rows_ptr + first + m, mask=m < count, other=0).to(tl.int64)
    share = tl.cdiv(tl.cdiv(num_inputs, BLOCK_K), NUM_SPLITS) * BLOCK_K
    begin = tl.program_id(2) * share
    end = tl.minimum(begin + share, num_inputs)
    low = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
    for at in range(begin, end, BLOCK_K):
        i = at + tl.arange(0, BLOCK_K)
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + i[None, :],
            mask=(m < count)[:, None] & (i < end)[None, :],
            other=0.0,
        )
        a = tl.load(
            a_ptr + slot * num_inputs * NUM_RANKS + i[:, None] * NUM_RANKS + columns[None, :],
            mask=(i < end)[:, None] & is_loaded[None, :],
            other=0.0,
        )
        low = tl.dot(x.to(a.dtype), a, low, input_precision="ieee")
    entries = tl.program_id(2).to(tl.int64) * num_entries + first + m
    tl.store(
        low_ptr + entries[:, None] * NUM_RANKS + columns[None, :],
        low,
        mask=(m < count)[:, None] & is_loaded[None, :],
    )


@triton.jit
def _expand_kernel(
    low_ptr: tl.tensor,
    b_ptr: tl.tensor,
    out_ptr: tl.tensor,
    parts_ptr: tl.tensor,
    ranks_ptr: tl.tensor,
    row_tiles_ptr: tl.tensor,
    rows_ptr: tl.tensor,
    row_entries_ptr: tl.tensor,
    scales_ptr: tl.tensor,
    num_columns: tl.tensor,
    num_pieces: tl.tensor,
    num_entries: tl.tensor,
    max_rows: tl.tensor,
    out_stride: tl.tensor,
    FIRST_SLOT: tl.constexpr,
    NUM_FIELDS: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    RANK_UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Adds one row tile's deltas to one block of output columns, whose only writer it is.

    Grid (row tiles, pieces * blocks of a piece's columns). A program goes through the slots of its tile's combination
    in order, adds up the partial sums of the shrink and multiplies them by B.
    """
    tile_ptr = row_tiles_ptr + tl.program_id(0) * NUM_FIELDS
    first = tl.load(tile_ptr)
    count = tl.load(tile_ptr + 1)
    num_slots = tl.load(tile_ptr + 2)
    if count == 0:
        return
    NUM_RANKS: tl.constexpr = NUM_PARTS * WIDTH
    num_blocks = tl.cdiv(num_columns, BLOCK_N)
    piece = tl.program_id(1) // num_blocks
    part = tl.load(parts_ptr + piece)
    m = tl.arange(0, BLOCK_M)
    n = tl.program_id(1) % num_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    delta = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for nth in range(num_slots):
        slot = tl.load(tile_ptr + FIRST_SLOT + nth).to(tl.int64)
        rank = tl.load(ranks_ptr + slot * NUM_PARTS + part)
        num_loaded = tl.cdiv(rank, RANK_UNIT) * RANK_UNIT
        entries = tl.load(row_entries_ptr + nth * max_rows + first + m, mask=m < count, other=0).to(tl.int64)
        scales = tl.load(scales_ptr + entries, mask=m < count, other=0.0)
        for first_rank in range(0, rank, BLOCK_R):
            r = first_rank + tl.arange(0, BLOCK_R)
            is_low = (m < count)[:, None] & (r < num_loaded)[None, :]
            low = tl.zeros((BLOCK_M, BLOCK_R), dtype=tl.float32)
            for split in tl.static_range(NUM_SPLITS):
                places = (entries + split * num_entries)[:, None] * NUM_RANKS + (part * WIDTH + r)[None, :]
                low += tl.load(low_ptr + places, mask=is_low, other=0.0)
            low = tl.where((r < rank)[None, :], low * scales[:, None], 0.0)
            b = tl.load(
                b_ptr + ((slot * num_pieces + piece) * WIDTH + r)[:, None] * num_columns + n[None, :],
                mask=(r < rank)[:, None] & (n < num_columns)[None, :],
                other=0.0,
            )
            delta = tl.dot(low.to(b.dtype), b, delta, input_precision="ieee")
    rows = tl.load(rows_ptr + first + m, mask=m < count, other=0).to(tl.int64)
    out_ptrs = out_ptr + rows[:, None] * out_stride + (piece * num_columns + n)[None, :]
    is_ours = (m < count)[:, None] & (n < num_columns)[None, :]
    out = tl.load(out_ptrs, mask=is_ours, other=0.0)
    tl.store(out_ptrs, (out.to(tl.float32) + delta).to(out.dtype), mask=is_ours)
