"""The adapters' part of a linear layer on the CPU: all tokens of a step in one compiled function.

Shape legend: T tokens, I in_features, O out_features of all parts, P pieces of them, F features of a piece, R rank of
all parts together, S slots, B blocks of tokens, U uses: pairs of a block and an adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import torch
from numba import prange
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.float_tiles import add_product
from service.engine.cpu.tiles import ROWS
from service.engine.lora.routing import Routing, Use, Uses, plan_magnitudes, use_spans
from service.engine.lora.slots import Stack

_BLOCK_TILES = 4
"""Tiles of a block at most: a long prompt is shared by the threads."""


@dataclass(frozen=True)
class CompiledRuns:
    """The tokens of a step that go through one rank's slots, in blocks of neighbours under equal uses."""

    rank: int
    groups: frozenset[str]
    starts_B: Array
    ends_B: Array
    use_ends_B: Array
    """Where each block's uses end."""
    slots_U: Array
    scales_U: Array

    def add(self, x_TI: Tensor, out_TO: Tensor, stack: Stack) -> None:
        """Adds the changes of one group of layers to the base's output."""
        blocks = (self.starts_B, self.ends_B, self.use_ends_B, self.slots_U, self.scales_U)
        _add(array(x_TI.contiguous()), array(out_TO), *stack.arrays, *blocks)


class CompiledRouting(Routing):
    """As `Routing`, by one function for all tokens, however few or many go through one slot."""

    def plan(self, uses: Sequence[Uses], counts: Sequence[int], device: torch.device) -> None:
        """As `Routing.plan`."""
        blocks = _blocks(uses, counts, torch.get_num_threads())
        ranks = sorted({use.slot.rank for each in uses for use in each})
        self.grouped = [_of_rank(rank, blocks) for rank in ranks]
        self.batched, self.runs = (), ()
        self.magnitudes = plan_magnitudes(use_spans(uses, counts), device)


_Block = tuple[int, int, Uses]
"""From token, to token, and what they go through."""


def _blocks(uses: Sequence[Uses], counts: Sequence[int], num_threads: int) -> list[_Block]:
    num_tokens = sum(count for each, count in zip(uses, counts, strict=True) if each)
    most = min(_BLOCK_TILES * ROWS, max(1, -(-num_tokens // num_threads)))
    blocks: list[_Block] = []
    start = 0
    for alike, neighbours in groupby(zip(uses, counts, strict=True), key=lambda pair: pair[0]):
        end = start + sum(count for _, count in neighbours)
        if alike:
            blocks += [(first, min(first + most, end), alike) for first in range(start, end, most)]
        start = end
    return blocks


def _of_rank(rank: int, blocks: Sequence[_Block]) -> CompiledRuns:
    chosen = [(start, end, [use for use in uses if use.slot.rank == rank]) for start, end, uses in blocks]
    chosen = [block for block in chosen if block[2]]
    found: list[Use] = [use for _, _, uses in chosen for use in uses]
    return CompiledRuns(
        rank=rank,
        groups=frozenset().union(*(use.slot.groups for use in found)),
        starts_B=np.array([start for start, _, _ in chosen], np.int64),
        ends_B=np.array([end for _, end, _ in chosen], np.int64),
        use_ends_B=np.array(list(accumulate(len(uses) for _, _, uses in chosen)), np.int64),
        slots_U=np.array([use.slot.index for use in found], np.int64),
        scales_U=np.array([use.scale for use in found], np.float32),
    )


@compiled(
    *(
        f"void(float32[:, ::1], float32[:, ::1], {dtype}[:, :, ::1], {dtype}[:, :, :, ::1], int32[::1],"
        " int64[::1], int64[::1], int64[::1], int64[::1], float32[::1])"
        for dtype in ("float32", "uint16")
    )
)
def _add(
    x_TI: Array,
    out_TO: Array,
    a_SIR: Array,
    b_SPRF: Array,
    parts_P: Array,
    starts_B: Array,
    ends_B: Array,
    use_ends_B: Array,
    slots_U: Array,
    scales_U: Array,
) -> None:
    _, num_pieces, rank, features = b_SPRF.shape
    for block in prange(len(starts_B)):
        tokens = slice(starts_B[block], ends_B[block])
        low_TR = np.empty((ends_B[block] - starts_B[block], a_SIR.shape[2]), np.float32)
        for use in range(use_ends_B[block - 1] if block else 0, use_ends_B[block]):
            low_TR[:] = 0
            add_product(x_TI[tokens], a_SIR[slots_U[use]], low_TR)
            low_TR *= scales_U[use]
            for piece in range(num_pieces):
                ranks = slice(parts_P[piece] * rank, (parts_P[piece] + 1) * rank)
                columns = slice(piece * features, (piece + 1) * features)
                add_product(low_TR[:, ranks], b_SPRF[slots_U[use], piece], out_TO[tokens, columns])
