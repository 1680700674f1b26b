"""Continuations of one context laid end to end in one sequence, so that the context is computed once for all of them.

A token stands at a slot, counted from the sequence's first token, and at a position, which the model is told. In the
context they are the same. After it each branch begins at the context's end again, and sees the context and itself. A
continuation's last token predicts nothing that is wanted, so it has no slot: of one-token continuations only the
context is computed.

Shape legend: N slots that look, C slots that are looked at.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Branches:
    """Where the continuations of a context stand."""

    num_context: int
    """Tokens of the context, at least 1."""
    continuations: tuple[tuple[int, ...], ...]
    """At least one, each of at least one token."""

    @cached_property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens in the slots after the context."""
        return tuple(token for each in self.continuations for token in each[:-1])

    @cached_property
    def _starts(self) -> list[int]:
        """First slot of each continuation, and the slot after the last."""
        return list(accumulate((len(each) - 1 for each in self.continuations), initial=self.num_context))

    def branch(self, slot: int) -> int:
        """Which continuation stands at a slot; -1: the context."""
        # Of continuations that begin at the same slot all but the last have no slot.
        return bisect_right(self._starts, slot) - 1

    def positions(self, start: int, end: int) -> list[int]:
        """Of the tokens in the slots from `start` to `end`."""
        return [self._position(slot) for slot in range(start, end)]

    def seen_NC(self, start: int, end: int, window: int | None, device: torch.device) -> Tensor:
        """Which of the first `end` slots each slot from `start` on sees; with a window, its last positions only."""
        slot_C = torch.arange(end, device=device)
        branch_C = torch.tensor([self.branch(slot) for slot in range(end)], device=device)
        seen_NC = slot_C <= slot_C[start:, None]
        seen_NC &= (branch_C < 0) | (branch_C == branch_C[start:, None])
        if window is not None:
            position_C = torch.tensor(self.positions(0, end), device=device)
            seen_NC &= position_C > position_C[start:, None] - window
        return seen_NC

    def targets(self, start: int, end: int) -> list[tuple[int, int]]:
        """Slot, and a token to be scored by its logits; of the slots from `start` to `end`, in order.

        The context's last slot predicts the first token of every continuation.
        """
        found: list[tuple[int, int]] = []
        for slot in range(start, end):
            if slot == self.num_context - 1:
                found += [(slot, each[0]) for each in self.continuations]
            elif slot >= self.num_context:
                branch = self.branch(slot)
                found.append((slot, self.continuations[branch][slot - self._starts[branch] + 1]))
        return found

    def split(self, found: Sequence[T]) -> list[list[T]]:
        """What was found for all `targets`, continuation by continuation."""
        num, first = len(self.continuations), self.num_context
        rest = found[num:]
        return [[found[at], *rest[self._starts[at] - first : self._starts[at + 1] - first]] for at in range(num)]

    def _position(self, slot: int) -> int:
        branch = self.branch(slot)
        return slot if branch < 0 else self.num_context + slot - self._starts[branch]
