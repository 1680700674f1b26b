"""Which rows of a step go through which adapter slots, laid out for the kernels in tensors that never move.

An *entry* is one row going through one adapter; a row has as many entries as its request has adapters, or none. The
entries are sorted by slot and cut into *tiles* (one slot, at most `block_m` entries): the unit of the shrink kernel.
The rows are sorted by their combination of adapters and cut into *row tiles* (one combination, at most `block_m`
rows): the unit of the expand kernel, which adds up all entries of its rows itself. Each row then has one writer, so
the sum needs neither atomics nor passes and always runs in the order in which the request lists its adapters.

Shape legend: E entries, N rows with an adapter, K adapters of a row, T tiles, L row tiles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")

TILE_FIELDS = 3
"""Slot, first entry, number of entries."""
ROW_TILE_FIELDS = 3
"""First row, number of rows, number of entries of each row; the slots follow."""
_ALIGNMENT = 32
"""In elements: sections begin at 128 bytes, so that the kernels see the same alignment whatever the sizes."""


@dataclass(frozen=True, kw_only=True)
class RowSpan:
    """Rows `start` to `start + count` of a step, all of one sequence, with the sequence's adapters."""

    start: int
    count: int
    slots: tuple[int, ...] = ()
    """Empty: the base alone."""
    scales: tuple[float, ...] = ()
    """As many as slots."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much a step may hold; fixes the tensors' sizes and, for a captured graph, the kernels' grids."""

    rows: int
    """Rows that have an adapter."""
    slots: int
    """Different adapters in one step."""
    adapters_per_row: int = 1
    combinations: int | None = None
    """Different combinations of adapters in one step; none: whatever the other limits allow."""
    block_m: int = 16
    """Entries of a tile: 16 for decoding, where slots have few rows, 64 for prompts."""

    @property
    def num_entries(self) -> int:
        """Entries at most."""
        return self.rows * self.adapters_per_row

    @property
    def num_tiles(self) -> int:
        """Tiles at most: the full ones and one more for each slot."""
        return min(self.num_entries, self.num_entries // self.block_m + self.slots)

    @property
    def num_row_tiles(self) -> int:
        """Row tiles at most: the full ones and one more for each combination."""
        combinations = self.combinations or (self.slots if self.adapters_per_row == 1 else self.rows)
        return min(self.rows, self.rows // self.block_m + combinations)

    def holds(self, spans: Sequence[RowSpan]) -> bool:
        """Whether such a step fits."""
        adapted = [span for span in spans if span.slots]
        combinations = {span.slots for span in adapted}
        return (
            sum(span.count for span in adapted) <= self.rows
            and len({slot for slots in combinations for slot in slots}) <= self.slots
            and max(map(len, combinations), default=0) <= self.adapters_per_row
            and (self.combinations is None or len(combinations) <= self.combinations)
        )


class DeviceGroups:
    """The grouping of the step under way. The tensors keep their addresses; `fill` changes what is in them."""

    def __init__(self, capacity: Capacity, device: torch.device, *, static_grid: bool) -> None:
        """With a static grid the kernels are launched for the whole capacity, as a CUDA graph demands."""
        self.capacity = capacity
        self.num_tiles = capacity.num_tiles if static_grid else 0
        """Programs of the shrink kernel for each block of ranks."""
        self.num_row_tiles = capacity.num_row_tiles if static_grid else 0
        """Programs of the expand kernel for each block of columns."""
        self._static_grid = static_grid
        shapes = self._shapes()
        ends = list(accumulate(_aligned(rows * columns) for rows, columns in shapes))
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(ends[-1], dtype=torch.int32, pin_memory=on_gpu)
        self._device = torch.zeros(ends[-1], dtype=torch.int32, device=device)
        self._copied = torch.cuda.Event() if on_gpu else None
        self._spans: list[RowSpan] | None = None
        self._host_views = _views(self._host, shapes, ends)
        rows_E, scales_E, self.tiles_T3, self.row_tiles_LF, rows_N, self.row_entries_KN = _views(
            self._device, shapes, ends
        )
        self.entry_rows_E = rows_E[0]
        self.entry_scales_E = scales_E[0].view(torch.float32)
        self.rows_N = rows_N[0]

    def fill(self, spans: Sequence[RowSpan]) -> None:
        """Describes the next step: one copy to the device, which waits for nothing that runs there.

        The spans must not overlap and must fit the capacity.
        """
        assert self.capacity.holds(spans), f"the step does not fit {self.capacity}"
        if list(spans) == self._spans:
            # While decoding most steps are like the one before.
            return
        if self._copied is not None:
            # The last step's copy may still read the pinned memory.
            self._copied.synchronize()
        plan = _Plan(spans, self.capacity)
        sections = (plan.entry_rows, plan.entry_scales, plan.tiles, plan.row_tiles, plan.rows, plan.row_entries)
        for view, section in zip(self._host_views, sections, strict=True):
            view[: section.shape[0], : section.shape[1]] = section
        for view, section in ((self._host_views[2], plan.tiles), (self._host_views[3], plan.row_tiles)):
            view[section.shape[0] :] = 0
        self._device.copy_(self._host, non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        self._spans = list(spans)
        if not self._static_grid:
            self.num_tiles, self.num_row_tiles = plan.tiles.shape[0], plan.row_tiles.shape[0]

    def _shapes(self) -> tuple[tuple[int, int], ...]:
        capacity = self.capacity
        return (
            (1, capacity.num_entries),
            (1, capacity.num_entries),
            (capacity.num_tiles, TILE_FIELDS),
            (capacity.num_row_tiles, ROW_TILE_FIELDS + capacity.adapters_per_row),
            (1, capacity.rows),
            (capacity.adapters_per_row, capacity.rows),
        )


class _Plan:
    """The sections' contents for one step, two-dimensional, on the CPU; no loop over rows or entries."""

    def __init__(self, spans: Sequence[RowSpan], capacity: Capacity) -> None:
        spans = sorted((span for span in spans if span.slots and span.count), key=lambda span: span.slots)
        shares = sorted(
            ((slot, at, nth) for at, span in enumerate(spans) for nth, slot in enumerate(span.slots)),
            key=lambda share: share[0],
        )
        counts = [spans[at].count for _, at, _ in shares]
        first = {(at, nth): end - spans[at].count for (_, at, nth), end in zip(shares, accumulate(counts), strict=True)}
        self.entry_rows = _ragged([spans[at].start for _, at, _ in shares], counts)
        scales = torch.tensor([spans[at].scales[nth] for _, at, nth in shares], dtype=torch.float32)
        self.entry_scales = scales.repeat_interleave(torch.tensor(counts, dtype=torch.int64)).view(torch.int32)[None]
        row_counts = [span.count for span in spans]
        self.rows = _ragged([span.start for span in spans], row_counts)
        width = capacity.adapters_per_row
        self.row_entries = torch.cat(
            [_ragged([first.get((at, nth), 0) for at in range(len(spans))], row_counts) for nth in range(width)]
        )
        runs = _runs([slot for slot, _, _ in shares], counts)
        self.tiles = _table(
            [(slot, *cut) for slot, start, count in runs for cut in _cuts(start, count, capacity.block_m)], TILE_FIELDS
        )
        row_runs = _runs([span.slots for span in spans], row_counts)
        self.row_tiles = _table(
            [
                (*cut, len(slots), *slots, *[0] * (width - len(slots)))
                for slots, start, count in row_runs
                for cut in _cuts(start, count, capacity.block_m)
            ],
            ROW_TILE_FIELDS + width,
        )


def _ragged(starts: Sequence[int], counts: Sequence[int]) -> Tensor:
    """`[1, sum of counts]`: for each start as many consecutive numbers as its count says."""
    counts_S = torch.tensor(counts, dtype=torch.int64)
    shifts_S = torch.tensor(starts, dtype=torch.int64) - (counts_S.cumsum(dim=0) - counts_S)
    numbers = torch.arange(int(sum(counts))) + shifts_S.repeat_interleave(counts_S)
    return numbers.to(torch.int32)[None]


def _runs(keys: Sequence[Key], counts: Sequence[int]) -> Iterator[tuple[Key, int, int]]:
    """Neighbours of equal key joined: key, first element, number of elements."""
    start = 0
    for key, run in groupby(zip(keys, counts, strict=True), key=lambda pair: pair[0]):
        count = sum(pair[1] for pair in run)
        yield key, start, count
        start += count


def _cuts(start: int, count: int, block: int) -> list[tuple[int, int]]:
    return [(at, min(block, start + count - at)) for at in range(start, start + count, block)]


def _table(lines: Sequence[tuple[int, ...]], num_fields: int) -> Tensor:
    return torch.tensor(lines, dtype=torch.int32).reshape(len(lines), num_fields)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _views(buffer: Tensor, shapes: Sequence[tuple[int, int]], ends: Sequence[int]) -> list[Tensor]:
    return [
        buffer[end - _aligned(rows * columns) :][: rows * columns].view(rows, columns)
        for (rows, columns), end in zip(shapes, ends, strict=True)
    ]
