"""Runs the check of `verification` for every adapter before its first answer, among the other sequences."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Ordered

from torch import Tensor

from base.loader import LoadedBase
from base.shapes import embedding_rows
from service.engine.errors import AdapterLoadError, EngineError
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import (
    AdapterSource,
    AdapterUse,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    TokenLogprob,
)
from service.engine.residency.leases import Lease
from service.engine.residency.verification import Expectation, fault
from service.engine.sampling.sampler import Choice
from service.engine.scheduling.sequence import Sequence

_NUM_TOKENS = 4
_MAX_BROKEN = 1000
_MAX_FAILURES = 2
"""Steps that may fail with an adapter's check in them; each such step also fails the requests beside it."""
_TENANT = ""
"""Nobody's: requests of all tenants may wait for it."""


class Canary:
    """The output of a check."""

    cancelled = False

    def __init__(self, source: AdapterSource, expected: Expectation, on_failure: Callable[["Canary"], None]) -> None:
        self.source = source
        self.expected = expected
        self._on_failure = on_failure

    def admitted(self, cached_tokens: int) -> None:
        """Nothing to be told."""

    def scored(self, logprobs: Ordered[TokenLogprob]) -> None:
        """No logprobs are asked for."""

    def chosen(self, choice: Choice) -> bool:
        """Its logits are looked at instead of being sampled."""
        raise AssertionError(choice)

    def ended(self, reason: FinishReason) -> None:
        """The verifier has been told already."""

    def failed(self, error: EngineError) -> None:
        """The step failed."""
        del error
        self._on_failure(self)


class Verifier:
    """Which adapters were found sound or broken; engine thread only."""

    def __init__(self, base: LoadedBase, runner: ModelRunner) -> None:
        self._base = base
        rows = embedding_rows(base.model)
        self._prompt_ids = tuple(at * (rows - 1) // _NUM_TOKENS for at in range(_NUM_TOKENS))
        pages = range(-(-_NUM_TOKENS // runner.cache.page_tokens))
        self._base_logits_V = runner.run([Work(Span(self._prompt_ids, 0, pages), (), [_NUM_TOKENS - 1])])[0]
        self._sound: set[str] = set()
        self._broken: OrderedDict[str, AdapterLoadError] = OrderedDict()
        self._running: set[str] = set()
        self._failures: Counter[str] = Counter()

    def sound(self, digest: str) -> bool:
        """Whether the adapter may answer."""
        return digest in self._sound

    def error(self, digest: str) -> AdapterLoadError | None:
        """What is wrong with it, if that is known."""
        return self._broken.get(digest)

    def wanted(self, digest: str) -> bool:
        """Whether nothing is known of the adapter, and no check is under way."""
        return not any(digest in known for known in (self._sound, self._broken, self._running))

    def check(self, lease: Lease) -> Sequence:
        """The sequence that checks an adapter in its slot; it gives the lease back."""
        source, expected = lease.source, lease.expected
        assert expected is not None
        self._running.add(source.digest)
        request = GenerationRequest(
            prompt_ids=self._prompt_ids if expected.golden is None else expected.golden.prompt_ids,
            params=SamplingParams(max_tokens=1),
            stop_ids=frozenset(),
            adapters=(AdapterUse(source),),
            tenant=_TENANT,
        )
        sequence = Sequence(request, Canary(source, expected, self._failed), caching=False)
        sequence.leases = (lease,)
        return sequence

    def decide(self, canary: Canary, logits_V: Tensor) -> None:
        """The check's logits have come."""
        source = canary.source
        self._running.discard(source.digest)
        wrong = fault(canary.expected, logits_V, self._base_logits_V, self._base)
        if wrong is None:
            self._sound.add(source.digest)
        else:
            self._refuse(source, wrong)

    def _failed(self, canary: Canary) -> None:
        digest = canary.source.digest
        self._running.discard(digest)
        self._failures[digest] += 1
        if self._failures[digest] >= _MAX_FAILURES:
            del self._failures[digest]
            self._refuse(canary.source, "the steps that checked it failed; see the server's log")

    def _refuse(self, source: AdapterSource, reason: str) -> None:
        self._broken[source.digest] = AdapterLoadError(f"adapter {source.label}: {reason}")
        while len(self._broken) > _MAX_BROKEN:
            self._broken.popitem(last=False)
