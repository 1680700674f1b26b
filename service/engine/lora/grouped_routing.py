"""Routing for kernels that take all tokens of a rank's slots together, however few or many each slot has.

Shape legend: T tokens of the step, I in_features, O out_features of all parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from service.engine.lora.device_groups import Capacity, DeviceGroups, RowSpan
from service.engine.lora.routing import Routing, Uses, plan_magnitudes, use_spans
from service.engine.lora.slots import Stack

AddChanges = Callable[[Tensor, Tensor, Stack, DeviceGroups], None]
"""`add(x_TI, out_TO, stack, entries)`: adds the entries' changes of one group of layers to the base's output."""

ADAPTERS_PER_ROW = 4
"""Of one rank at most; a step with more of them goes the way of torch."""
_SINGLE_BLOCK, _PROMPT_BLOCK = 16, 64
"""Entries of a tile: a slot has few tokens while decoding, and many of a prompt."""


@dataclass(frozen=True)
class RowLimits:
    """How much a step may hold."""

    sequences: int
    tokens: int
    adapters: int
    """Different ones."""


@dataclass(frozen=True)
class GroupedRows:
    """The tokens of a step that go through one rank's slots."""

    rank: int
    groups: frozenset[str]
    entries: DeviceGroups
    add_changes: AddChanges

    def add(self, x_TI: Tensor, out_TO: Tensor, stack: Stack) -> None:
        """For one group of layers."""
        self.add_changes(x_TI, out_TO, stack, self.entries)


class GroupedRouting(Routing):
    """Lays the step out for the kernels; a step beyond their capacity goes the way of torch, with the same results."""

    def __init__(self, add_changes: AddChanges, limits: RowLimits, device: torch.device) -> None:
        super().__init__()
        self._add_changes, self._limits, self._device = add_changes, limits, device
        self._entries: dict[tuple[int, Capacity], DeviceGroups] = {}

    def plan(self, uses: Sequence[Uses], counts: Sequence[int], device: torch.device) -> None:
        """As `Routing.plan`."""
        rows, capacity = rows_by_rank(uses, counts), self._capacity(counts)
        if not all(capacity.holds(spans) for spans in rows.values()):
            super().plan(uses, counts, device)
            return
        grouped = [
            GroupedRows(rank, _groups(uses, rank), self._filled(rank, capacity, spans), self._add_changes)
            for rank, spans in rows.items()
        ]
        self.take(grouped)
        self.magnitudes = plan_magnitudes(use_spans(uses, counts), device)

    def take(self, grouped: Sequence[GroupedRows]) -> None:
        """The next pass goes through these and nothing else."""
        self.grouped, self.batched, self.runs, self.magnitudes = grouped, (), (), ()

    def fixed(self, num_rows: int, rank: int, groups: frozenset[str]) -> GroupedRows:
        """For a captured graph of that many single tokens: its kernels are launched for all that may come."""
        entries = DeviceGroups(self._bounds(num_rows, _SINGLE_BLOCK), self._device, static_grid=True)
        return GroupedRows(rank, groups, entries, self._add_changes)

    def _capacity(self, counts: Sequence[int]) -> Capacity:
        if max(counts, default=1) == 1:
            return self._bounds(self._limits.sequences, _SINGLE_BLOCK)
        return self._bounds(self._limits.tokens, _PROMPT_BLOCK)

    def _bounds(self, num_rows: int, block_m: int) -> Capacity:
        each = min(ADAPTERS_PER_ROW, self._limits.adapters)
        slots = min(num_rows * each, self._limits.adapters)
        return Capacity(rows=num_rows, slots=slots, adapters_per_row=each, block_m=block_m)

    def _filled(self, rank: int, capacity: Capacity, spans: Sequence[RowSpan]) -> DeviceGroups:
        if (rank, capacity) not in self._entries:
            self._entries[rank, capacity] = DeviceGroups(capacity, self._device, static_grid=False)
        entries = self._entries[rank, capacity]
        entries.fill(spans)
        return entries


def rows_by_rank(uses: Sequence[Uses], counts: Sequence[int]) -> dict[int, list[RowSpan]]:
    """The rows of each rank's stacks, lowest rank first; neighbours under equal uses are one span."""
    found: dict[int, list[RowSpan]] = {}
    start = 0
    for alike, neighbours in groupby(zip(uses, counts, strict=True), key=lambda pair: pair[0]):
        count = sum(pair[1] for pair in neighbours)
        for rank in {use.slot.rank for use in alike}:
            of_rank = [use for use in alike if use.slot.rank == rank]
            slots, scales = tuple(use.slot.index for use in of_rank), tuple(use.scale for use in of_rank)
            found.setdefault(rank, []).append(RowSpan(start=start, count=count, slots=slots, scales=scales))
        start += count
    return dict(sorted(found.items()))


def _groups(uses: Sequence[Uses], rank: int) -> frozenset[str]:
    slots = {use.slot for each in uses for use in each if use.slot.rank == rank}
    return frozenset().union(*(slot.groups for slot in slots))
