"""Where one answer is in its grammar.

Shapes: W words of 32 bits, one bit a token.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
import xgrammar
from torch import Tensor

from service.engine.errors import InvalidGrammarError

_GRACE_SECONDS = 1.0
_SECONDS_A_TOKEN = 0.005
"""What matching may take on average: an ambiguous grammar costs more with each token, and the whole batch waits."""


class Matcher:
    """One answer's place in a compiled grammar.

    An answer always ends: where the grammar lets nothing follow, its end tokens are all that may. Nothing here raises;
    a grammar that takes too long to match sets `failure`.

    Attributes:
        ended: an end token was accepted, or a token that the grammar does not have.
        failure: why the answer cannot go on.
    """

    def __init__(self, compiled: xgrammar.CompiledGrammar, stop_ids: Collection[int]) -> None:
        """Starts at the grammar's beginning.

        Args:
            compiled: the grammar.
            stop_ids: tokens that may end the answer once the grammar is complete; none: the compiler's.
        """
        info = compiled.tokenizer_info
        usable = sorted(token_id for token_id in stop_ids if 0 <= token_id < info.vocab_size)
        ends = usable or list(info.stop_token_ids)
        self.ended = False
        self.failure: InvalidGrammarError | None = None
        self._seconds = 0.0
        self._num_tokens = 0
        self._ends_W = _bits(ends, info.vocab_size)
        self._matcher = xgrammar.GrammarMatcher(
            compiled, override_stop_tokens=ends or None, terminate_without_stop_token=not ends
        )

    @property
    def is_stuck(self) -> bool:
        """Whether no token and no end may follow."""
        mask_W = torch.zeros_like(self._ends_W)
        self._fill(mask_W)
        return not bool(mask_W.any())

    def fill(self, mask_W: Tensor, barred_ids: Sequence[int]) -> None:
        """Writes which tokens may follow.

        Args:
            mask_W: int32 on the CPU, contiguous.
            barred_ids: not to be allowed unless there is nothing else.
        """
        if not self.ended:
            self._fill(mask_W)
        if self.ended or not bool(mask_W.any()):
            mask_W.copy_(self._ends_W)
        if barred_ids:
            rest_W = mask_W & ~_bits(barred_ids, 32 * len(mask_W))
            if bool(rest_W.any()):
                mask_W.copy_(rest_W)

    def accept(self, token_id: int) -> None:
        """Goes on by one token."""
        if self.ended or self.failure:
            return
        self._num_tokens += 1
        with self._timed():
            accepted = self._matcher.accept_token(token_id)
            self.ended = not accepted or self._matcher.is_terminated()

    def _fill(self, mask_W: Tensor) -> None:
        if self.failure is None:
            with self._timed():
                self._matcher.fill_next_token_bitmask(mask_W)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        # The thread's own time: a busy machine is not the grammar's fault.
        started = time.thread_time()
        try:
            yield
        except RuntimeError as error:
            self.failure = InvalidGrammarError(f"the grammar cannot be matched: {reason(error)}")
        self._seconds += time.thread_time() - started
        if self._seconds > _GRACE_SECONDS + _SECONDS_A_TOKEN * self._num_tokens:
            self.failure = InvalidGrammarError(
                f"matching the grammar takes more than {1000 * _SECONDS_A_TOKEN:g} ms a token; make it less ambiguous"
            )


def reason(error: Exception) -> str:
    """What xgrammar says, without the place in its source, in one line."""
    text = " ".join(str(error).split())
    head, found, tail = text.partition(".cc:")
    if found and head.startswith("["):
        text = tail.partition(": ")[2]
    return text.removeprefix("Check failed: ") or type(error).__name__


def _bits(token_ids: Sequence[int], num_tokens: int) -> Tensor:
    bits_T = torch.zeros(-(-num_tokens // 32), 32, dtype=torch.int32)
    bits_T.view(-1)[list(token_ids)] = 1
    # The sum wraps at the sign bit, as the word does.
    return (bits_T << torch.arange(32, dtype=torch.int32)).sum(1, dtype=torch.int32)
