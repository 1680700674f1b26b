"""Which tokens of a step go through which slots, worked out once and shared by all layers.

Shape legend: T tokens of the step, S slots of a range, G tokens of the largest slot in it, E entries: pairs of a token
and an adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from service.engine.lora.slots import Slot, Stack


@dataclass(frozen=True)
class Use:
    """A slot and how strongly it acts on a sequence."""

    slot: Slot
    scale: float = 1.0


Uses = tuple[Use, ...]
"""What a sequence's tokens go through; nothing: the base alone."""


@dataclass(frozen=True)
class Run:
    """Consecutive tokens that go through one slot: a product of their own."""

    start: int
    end: int
    use: Use

    @property
    def rank(self) -> int:
        """Which stack."""
        return self.use.slot.rank

    @property
    def groups(self) -> frozenset[str]:
        """Groups of layers that are touched."""
        return self.use.slot.groups


@dataclass(frozen=True)
class Batched:
    """Few tokens for each of several slots: one batched product over a range of slots, empty places included."""

    rank: int
    slots: slice
    groups: frozenset[str]
    gather: Tensor | slice
    """[S * G] the token in each place of the range, any token where the place is empty; a slice where tokens and places
    coincide."""
    places: Tensor | None
    """[E] the places that count; None where all do, in the tokens' order."""
    tokens: Tensor | slice
    """[E] the token of each of them."""
    scales: Tensor | None
    """[E, 1, 1]; None where all are 1."""

    @property
    def num_slots(self) -> int:
        """Slots of the range."""
        return int(self.slots.stop - self.slots.start)


@dataclass(frozen=True)
class Magnitudes:
    """DoRA: tokens whose summed output is multiplied by their slot's ratio."""

    rank: int
    groups: frozenset[str]
    tokens: Tensor
    indices: Tensor
    """Slot of each token."""


class Grouped(Protocol):
    """All tokens that go through one rank's slots, for kernels that take them together."""

    @property
    def rank(self) -> int:
        """Which stacks."""
        ...

    @property
    def groups(self) -> frozenset[str]:
        """Groups of layers that are touched."""
        ...

    def add(self, x_TI: Tensor, out_TO: Tensor, stack: Stack) -> None:
        """Adds the tokens' changes of one group of layers to the base's output."""
        ...


@dataclass
class Routing:
    """The plan of the forward pass under way."""

    grouped: Sequence[Grouped] = ()
    batched: Sequence[Batched] = ()
    runs: Sequence[Run] = ()
    magnitudes: Sequence[Magnitudes] = ()

    def plan(self, uses: Sequence[Uses], counts: Sequence[int], device: torch.device) -> None:
        """Takes a step's sequences: what each goes through and how many tokens it has; single tokens come first.

        Sequences with equal uses should stand side by side.
        """
        spans = use_spans(uses, counts)
        self.grouped, self.batched, self.runs = [], [], []
        # Apart, because a prompt's many tokens would leave the single ones of other slots mostly padding.
        for alike in ([span for span in spans if span.single], [span for span in spans if not span.single]):
            for rank in sorted({span.use.slot.rank for span in alike}):
                self._plan_rank(rank, [span for span in alike if span.use.slot.rank == rank], device)
        self.magnitudes = plan_magnitudes(spans, device)

    def _plan_rank(self, rank: int, spans: Sequence["UseSpan"], device: torch.device) -> None:
        if _batching_pays(spans):
            entries = [(token, span.use) for span in spans for token in range(span.start, span.end)]
            self.batched = [*self.batched, _batch(rank, entries, device)]
        else:
            self.runs = [*self.runs, *_runs(spans)]


@dataclass(frozen=True)
class UseSpan:
    """Tokens of one sequence that go through one slot."""

    start: int
    end: int
    use: Use

    @property
    def single(self) -> bool:
        """One token, as in decoding."""
        return self.end - self.start == 1


def use_spans(uses: Sequence[Uses], counts: Sequence[int]) -> list[UseSpan]:
    """Sequence by sequence, each with its uses in order."""
    starts = [0, *accumulate(counts)]
    return [
        UseSpan(start, start + count, use)
        for start, count, each in zip(starts, counts, uses, strict=False)
        for use in each
    ]


def _batching_pays(spans: Sequence[UseSpan]) -> bool:
    """A batched product also pays for empty places; a run has calls of its own in every layer."""
    tokens: dict[int, int] = {}
    for span in spans:
        tokens[span.use.slot.index] = tokens.get(span.use.slot.index, 0) + span.end - span.start
    num_slots, spread = len(tokens), max(tokens) - min(tokens) + 1
    num_places = spread * max(tokens.values())
    worth = num_slots * _RUN_TOKENS + _PADDING * sum(tokens.values())
    return num_slots > 1 and spread <= _SPREAD * num_slots and num_places <= worth


_RUN_TOKENS = 8
"""Places that cost about as much as the calls of a run."""
_PADDING = 1.25
_SPREAD = 4
"""Slots that a batched product may read for each one in use."""


def _batch(rank: int, entries: Sequence[tuple[int, Use]], device: torch.device) -> Batched:
    per_slot: dict[int, list[tuple[int, Use]]] = {}
    for token, use in entries:
        per_slot.setdefault(use.slot.index, []).append((token, use))
    first, last = min(per_slot), max(per_slot)
    largest = max(len(each) for each in per_slot.values())
    gather = [entries[0][0]] * ((last - first + 1) * largest)
    places, tokens, scales = [], [], []
    for index in sorted(per_slot):
        for at, (token, use) in enumerate(per_slot[index]):
            places.append((index - first) * largest + at)
            tokens.append(token)
            scales.append(use.scale)
            gather[places[-1]] = token
    in_order = tokens == list(range(tokens[0], tokens[0] + len(tokens)))
    as_they_lie = in_order and len(places) == len(gather)
    span = slice(tokens[0], tokens[0] + len(tokens))
    return Batched(
        rank=rank,
        slots=slice(first, last + 1),
        groups=frozenset().union(*(use.slot.groups for _, use in entries)),
        gather=span if as_they_lie else torch.tensor(gather, device=device),
        places=None if as_they_lie else torch.tensor(places, device=device),
        tokens=span if in_order else torch.tensor(tokens, device=device),
        scales=None if all(scale == 1 for scale in scales) else torch.tensor(scales, device=device)[:, None, None],
    )


def _runs(spans: Sequence[UseSpan]) -> list[Run]:
    """Neighbours under one use joined."""
    runs: list[Run] = []
    for span in sorted(spans, key=_run_order):
        if runs and runs[-1].use == span.use and runs[-1].end == span.start:
            runs[-1] = Run(runs[-1].start, span.end, span.use)
        else:
            runs.append(Run(span.start, span.end, span.use))
    return runs


def _run_order(span: UseSpan) -> tuple[int, float, int]:
    return span.use.slot.index, span.use.scale, span.start


def plan_magnitudes(spans: Sequence[UseSpan], device: torch.device) -> list[Magnitudes]:
    """DoRA's part of a step."""
    found = [span for span in spans if span.use.slot.dora]
    magnitudes = []
    for rank in sorted({span.use.slot.rank for span in found}):
        of_rank = [span for span in found if span.use.slot.rank == rank]
        tokens = [token for span in of_rank for token in range(span.start, span.end)]
        indices = [span.use.slot.index for span in of_rank for _ in range(span.start, span.end)]
        groups = frozenset().union(*(span.use.slot.groups for span in of_rank))
        as_tensors = (torch.tensor(tokens, device=device), torch.tensor(indices, device=device))
        magnitudes.append(Magnitudes(rank, groups, *as_tensors))
    return magnitudes
