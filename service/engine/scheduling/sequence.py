"""One request on its way through the engine."""

import math
import time
from collections.abc import Sequence as Ordered
from concurrent.futures import Future
from typing import Protocol

import xgrammar

from service.engine.branches import Branches
from service.engine.cache.pages import BlockTable
from service.engine.cache.prefix import PrefixRoot
from service.engine.errors import EngineError
from service.engine.lora.routing import Use, Uses
from service.engine.request import FinishReason, GenerationRequest, TokenLogprob
from service.engine.residency.leases import Lease
from service.engine.sampling.sampler import Choice
from service.engine.sampling.state import SamplingState


class Output(Protocol):
    """Where a sequence's results go; called on the engine thread only, and never raises."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the results any more."""
        ...

    def admitted(self, cached_tokens: int) -> None:
        """It runs; so many of its tokens are in the cache already."""
        ...

    def scored(self, logprobs: Ordered[TokenLogprob]) -> None:
        """More of the prompt's tokens have their logprobs."""
        ...

    def chosen(self, choice: Choice) -> bool:
        """A token was chosen; whether the answer ends with it."""
        ...

    def ended(self, reason: FinishReason) -> None:
        """There will be no other token."""
        ...

    def failed(self, error: EngineError) -> None:
        """There will be no more."""
        ...


class Sequence:
    """A request with the tokens that it has so far, and what it holds."""

    def __init__(
        self,
        request: GenerationRequest,
        output: Output,
        *,
        score_from: int | None = None,
        branches: Branches | None = None,
        caching: bool = True,
    ) -> None:
        self.request = request
        self.output = output
        self.token_ids = list(request.prompt_ids)
        self.arrival = time.monotonic()
        self.leases: tuple[Lease, ...] = ()
        self.grammar: Future[xgrammar.CompiledGrammar] | None = None
        self.state: SamplingState | None = None
        """From the first admission on."""
        self.table: BlockTable | None = None
        """While it runs."""
        self.num_computed = 0
        """Tokens whose keys and values are in the cache."""
        self.num_scored = score_from
        """The next prompt token whose logprob is wanted; none if none is."""
        self.branches = branches
        """The prompt is a context and its continuations; none: every token follows the one before it."""
        self._last_predicts = branches is not None
        self.scores_prompt = score_from is not None and score_from < len(request.prompt_ids) + self._last_predicts
        """Whether there is such a token."""
        self._caching = caching
        timeout = request.timeout_seconds
        self._deadline = None if timeout is None else self.arrival + timeout
        self._uses: Uses | None = None

    @property
    def tenant(self) -> str:
        """Whose share it takes."""
        return self.request.tenant

    @property
    def num_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.prompt_ids)

    @property
    def num_left(self) -> int:
        """Tokens to compute before another can be chosen."""
        return len(self.token_ids) - self.num_computed

    @property
    def uses(self) -> Uses:
        """What its tokens go through; all leases must be ready."""
        if self._uses is None:
            pairs = zip(self.request.adapters, self.leases, strict=True)
            self._uses = tuple(Use(lease.slot, use.scale) for use, lease in pairs if lease.slot is not None)
            assert len(self._uses) == len(self.leases)
        return self._uses

    @property
    def root(self) -> PrefixRoot:
        """What its keys and values depend on besides the tokens."""
        return self.tenant, tuple((use.source.digest, use.scale) for use in self.request.adapters)

    @property
    def max_cached(self) -> int:
        """How many of its tokens may come from the cache: the last is computed, and so is what predicts scored ones."""
        if not self._caching:
            return 0
        if self.branches is not None:
            return self.branches.num_context - 1
        return len(self.token_ids) - 1 if self.num_scored is None else self.num_scored - 1

    @property
    def num_shareable(self) -> int:
        """Of its prompt's tokens that logits have shown to be sound, those that others may begin with."""
        return self.num_prompt - 1 if self.branches is None else self.branches.num_context

    def seconds_left(self, now: float) -> float:
        """Until its time is over, at least 0."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - now)

    def overdue(self, now: float) -> bool:
        """Whether its time is over."""
        return self._deadline is not None and now > self._deadline

    def wanted(self, count: int) -> range:
        """Of the next `count` tokens, those whose logits are needed to score the prompt's tokens."""
        if self.num_scored is None:
            return range(0)
        end = self.num_prompt - 1 + self._last_predicts
        first, last = self.num_scored - 1, min(self.num_computed + count, end)
        return range(first - self.num_computed, max(first, last) - self.num_computed)

    def targets(self, start: int, end: int) -> list[tuple[int, int]]:
        """Place of a token, and a token that it predicts and that is to be scored; of the places from `start` on."""
        if self.branches is not None:
            return self.branches.targets(start, end)
        return [(at, self.token_ids[at + 1]) for at in range(start, end)]
