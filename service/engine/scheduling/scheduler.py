"""What each step computes: a token of every running answer, and as much of the prompts as fits beside them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.cache.pages import Pages
from service.engine.cache.prefix import PrefixRoot
from service.engine.scheduling.pace import Pace
from service.engine.scheduling.sequence import Sequence
from service.engine.scheduling.waiting import WaitingQueue

_MAX_SKIPS = 8
"""Sequences that found no room in one pass, after which the cache counts as full."""


@dataclass(frozen=True)
class Part:
    """The next `count` tokens of a sequence."""

    sequence: Sequence
    count: int


@dataclass(frozen=True, kw_only=True)
class SchedulerLimits:
    """Bounds of a step."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_logit_rows: int


class Scheduler:
    """Waiting and running sequences, and the pages that the running ones hold.

    Args:
        pages: of the cache.
        limits: of a step.
        ready: whether a waiting sequence could run now: adapters in slots, grammar compiled.
        pace: how much prefill running answers bear.
    """

    def __init__(self, pages: Pages, limits: SchedulerLimits, ready: Callable[[Sequence], bool], pace: Pace) -> None:
        self._pages = pages
        self._limits = limits
        self._ready = ready
        self._pace = pace
        self.waiting: WaitingQueue[Sequence] = WaitingQueue()
        self.running: list[Sequence] = []
        """In order of admission."""
        self.num_preemptions = 0

    def plan(self) -> list[Part]:
        """The next step; single tokens first, equal adapters side by side. Empty if nothing can run."""
        parts: dict[Sequence, int] = {}
        for sequence in [each for each in self.running if each.num_left == 1]:
            self._schedule(parts, sequence, 1)
        left = self._pace.prefill_tokens(len(parts), self._num_prompts(), self._limits.max_num_batched_tokens)
        left = min(left, self._limits.max_num_batched_tokens - len(parts))
        for sequence in [each for each in self.running if each.num_left > 1]:
            left -= self._schedule(parts, sequence, left)
        self._admit(parts, left)
        ordered = sorted(
            parts.items(), key=lambda item: (item[1] > 1 or item[0].branches is not None, _adapter_order(item[0]))
        )
        return [Part(sequence, count) for sequence, count in ordered]

    def computed(self, part: Part) -> None:
        """The part's keys and values are in the cache."""
        part.sequence.num_computed += part.count

    def proven(self, sequence: Sequence, num_tokens: int) -> None:
        """Logits after so many tokens are numbers, so what was computed of them is sound, and others may share it."""
        assert sequence.table is not None
        self._pages.commit(sequence.table, sequence.token_ids, num_tokens)

    def finish(self, sequence: Sequence, *, keep: bool = True) -> None:
        """A running sequence ends; its pages are free at once, and without `keep` nobody starts from them."""
        self.running.remove(sequence)
        self._close(sequence, keep=keep)

    def take_to_clear(self) -> list[int]:
        """Pages that the planned step will write into, and that must hold zeros before."""
        return self._pages.take_to_clear()

    def check_integrity(self) -> None:
        """Asserts what holds between steps.

        Raises:
            AssertionError: it does not hold.
        """
        self._pages.check_integrity()
        self.waiting.check_integrity()
        assert len(self.running) <= self._limits.max_num_seqs
        for sequence in self.running:
            assert sequence.table is not None
            assert 0 <= sequence.num_computed <= len(sequence.token_ids)
            assert len(sequence.table.pages) * self._pages.page_tokens >= sequence.num_computed

    def _num_prompts(self) -> int:
        return len(self.waiting) + sum(sequence.num_left > 1 for sequence in self.running)

    def _schedule(self, parts: dict[Sequence, int], sequence: Sequence, most: int) -> int:
        """Gives the sequence its next tokens and makes room for them; how many they are."""
        if sequence.table is None:
            return 0
        count = self._bounded(parts, sequence, min(sequence.num_left, most))
        while count > 0 and not self._pages.grow(sequence.table, sequence.num_computed + count):
            youngest = self.running[-1]
            self._preempt(parts, youngest)
            if youngest is sequence:
                return 0
        if count > 0:
            parts[sequence] = count
            self.waiting.charge(sequence.tenant, count)
        return max(count, 0)

    def _bounded(self, parts: dict[Sequence, int], sequence: Sequence, count: int) -> int:
        """As many as the logits of a step allow."""
        taken = sum(len(each.wanted(of)) + 1 for each, of in parts.items())
        room = self._limits.max_logit_rows - taken - 1
        wanted = sequence.wanted(count)
        if parts and room < 0:
            return 0
        # Without a row to spare, one that scores leaves none for a choice: the last token comes with the next step.
        return count if len(wanted) <= room or not wanted else wanted.start + max(room, 1)

    def _admit(self, parts: dict[Sequence, int], left: int) -> None:
        now, num_skipped = time.monotonic(), 0
        under_way = {self._prompt(each) for each in self.running if each.num_computed < each.num_prompt}
        for sequence in self.waiting.candidates(now):
            if left <= 0 or len(self.running) >= self._limits.max_num_seqs or num_skipped == _MAX_SKIPS:
                return
            # Of copies of a prompt one is computed; the others find it in the cache then.
            if not self._ready(sequence) or (self._shareable(sequence) and self._prompt(sequence) in under_way):
                continue
            if not self._open(sequence):
                # Room comes when a running sequence ends; one that waits long for it bars those behind it.
                self.waiting.skip(sequence, now)
                num_skipped += 1
                continue
            self.waiting.remove(sequence)
            self.running.append(sequence)
            under_way.add(self._prompt(sequence))
            sequence.output.admitted(sequence.num_computed)
            left -= self._schedule(parts, sequence, left)

    def _shareable(self, sequence: Sequence) -> bool:
        return self._pages.prefix_caching and sequence.max_cached >= self._pages.page_tokens

    def _prompt(self, sequence: Sequence) -> tuple[PrefixRoot, tuple[int, ...]]:
        return sequence.root, sequence.request.prompt_ids

    def _open(self, sequence: Sequence) -> bool:
        """Takes pages for all the tokens that it has; false, and nothing taken, where they are lacking."""
        table = self._pages.open(sequence.root, sequence.token_ids, sequence.max_cached)
        if not self._pages.grow(table, len(sequence.token_ids)):
            self._pages.close(table)
            return False
        sequence.table, sequence.num_computed = table, table.num_cached
        return True

    def _preempt(self, parts: dict[Sequence, int], sequence: Sequence) -> None:
        """Sends a running sequence back; its tokens are kept, their keys and values are computed again."""
        parts.pop(sequence, None)
        self.finish(sequence)
        sequence.num_computed = 0
        self.waiting.push_front(sequence)
        self.num_preemptions += 1

    def _close(self, sequence: Sequence, *, keep: bool) -> None:
        assert sequence.table is not None
        self._pages.close(sequence.table, keep=keep)
        sequence.table = None


def _adapter_order(sequence: Sequence) -> list[tuple[int, int, float]]:
    """The base alone first, then by stack and slot."""
    return [(use.slot.rank, use.slot.index, use.scale) for use in sequence.uses]
