"""Decoding steps as captured graphs: one for each size of the batch and each set of ranks that it goes through.

A graph holds addresses, and those never change: inputs and groupings are made once, and the adapters' stacks stay where
they are whatever is loaded into them. A stack of a new rank comes with steps that ask for another graph.

Shape legend: B rows, V vocabulary.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import takewhile

from torch import Tensor

from service.engine.lora.device_groups import RowSpan
from service.engine.lora.grouped_routing import GroupedRouting, GroupedRows, rows_by_rank
from service.engine.lora.routing import Uses
from service.engine.model.batch import Span, Step
from service.engine.model.recording import Recorded, Recorder
from service.engine.model.static_step import StaticInputs

_log = logging.getLogger(__name__)

MAX_GRAPHS = 64
"""More, and the one that was not used for longest is dropped."""

_Key = tuple[int, tuple[int, ...]]
"""Rows and ranks."""


def batch_sizes(largest: int) -> list[int]:
    """Powers of two, and the largest itself."""
    return [*takewhile(lambda size: size < largest, (1 << bits for bits in range(largest.bit_length()))), largest]


class DecodeGraphs:
    """Runs steps of single tokens; each graph is captured when it is first wanted.

    Args:
        forward: the model's pass, logits [B, V] of every row.
        routing: what the model's layers look at while a pass is captured.
        inputs: of the steps.
        record: captures a pass.
        groups: names of all groups of layers: a graph goes through every one, whatever its adapters change.
    """

    def __init__(
        self,
        forward: Callable[[Step], Tensor],
        routing: GroupedRouting,
        inputs: StaticInputs,
        record: Recorder,
        groups: frozenset[str],
    ) -> None:
        self._forward, self._routing, self._inputs, self._record = forward, routing, inputs, record
        self._groups = groups
        self._sizes = batch_sizes(inputs.max_rows)
        self._rows: dict[tuple[int, int], GroupedRows] = {}
        self._graphs: OrderedDict[_Key, Recorded] = OrderedDict()
        self._broken = False

    def run(self, spans: Sequence[Span], uses: Sequence[Uses]) -> Tensor | None:
        """One step's logits [B, V], overwritten by the next; None where it has to be computed without a graph.

        That is so for longer spans, for DoRA, and beyond the kernels' capacity.
        """
        if self._broken or not self._inputs.holds(spans) or any(use.slot.dora for each in uses for use in each):
            return None
        rows = rows_by_rank(uses, [1] * len(spans))
        size = next(size for size in self._sizes if size >= len(spans))
        grouped = [self._grouped(size, rank) for rank in rows]
        if not all(each.entries.capacity.holds(rows[each.rank]) for each in grouped):
            return None
        self._fill(spans, size, grouped, rows)
        recorded = self._recorded(size, grouped)
        if recorded is None:
            return None
        recorded.replay()
        return recorded.logits_BV[: len(spans)]

    def _fill(
        self, spans: Sequence[Span], size: int, grouped: Sequence[GroupedRows], rows: dict[int, list[RowSpan]]
    ) -> None:
        self._inputs.fill(spans, size)
        for each in grouped:
            each.entries.fill(rows[each.rank])

    def _grouped(self, size: int, rank: int) -> GroupedRows:
        if (size, rank) not in self._rows:
            self._rows[size, rank] = self._routing.fixed(size, rank, self._groups)
        return self._rows[size, rank]

    def _recorded(self, size: int, grouped: Sequence[GroupedRows]) -> Recorded | None:
        key = size, tuple(each.rank for each in grouped)
        if key not in self._graphs:
            try:
                self._graphs[key] = self._record(lambda: self._pass(size, grouped))
            except RuntimeError as error:
                # Some models look at values in the middle of a pass, which no graph can hold.
                _log.warning("decoding goes on without CUDA graphs: %s", error)
                self._broken = True
                return None
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _pass(self, size: int, grouped: Sequence[GroupedRows]) -> Tensor:
        self._routing.take(grouped)
        return self._forward(self._inputs.step(size))
