"""The engine: one thread owns the model; requests enter and tokens leave through queues."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from base.loader import LoadedBase
from base.shapes import embedding_rows
from service.engine.branches import Branches
from service.engine.cpu.threads import use_threads
from service.engine.errors import (
    EngineClosedError,
    EngineFailedError,
    InvalidPromptError,
    PromptTooLongError,
    QueueFullError,
)
from service.engine.loop import EngineLoop
from service.engine.metrics import EngineMetrics
from service.engine.model.runner import ModelRunner
from service.engine.outputs import Answering, Scoring
from service.engine.request import (
    AdapterSource,
    EngineConfig,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    Scores,
)
from service.engine.residency.loading import AdapterLoader, check_adapters
from service.engine.residency.reading import ReadLimits
from service.engine.residency.residency import Limits, Placement, Residency
from service.engine.sampling.grammar import GrammarCompiler
from service.engine.scheduling.sequence import Sequence as Run
from service.engine.stream import TokenStream

_log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 5
_DEATH = "the engine has failed and takes no more requests; the server's log says why"


class Engine:
    """Generates and scores on one base with any adapters, from any number of threads.

    Takes ownership of `base.model` and replaces its layers.

    Args:
        base: the loaded base.
        config: bounds.
        metrics: what is counted.
        on_death: called once, from the engine thread, if it ends without having been closed; every request has failed
            by then.

    Raises:
        UnsupportedBaseError: the base's attention is of a kind that the cache does not know.
        EngineConfigError: the bounds do not fit the base.
    """

    def __init__(
        self,
        base: LoadedBase,
        config: EngineConfig,
        metrics: EngineMetrics,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._on_death = on_death
        self._tokenizer = base.tokenizer
        self._num_embeddings = embedding_rows(base.model)
        self._runner = ModelRunner(base, config)
        self.context_tokens = min(base.context_tokens, self._runner.cache.num_tokens)
        """The longest prompt and answer together, in tokens; no more than the cache holds."""
        self._changed = threading.Condition()
        self._arrived: deque[Run] = deque()
        self._news = False
        """Something that the loop may wait for has happened."""
        self._closed = False
        loader = AdapterLoader(base, self._runner)
        limits = Limits(
            device=config.max_loras,
            host=max(config.max_loras, config.max_cpu_loras),
            reads=ReadLimits(timeout_seconds=config.load_timeout_seconds),
        )
        self._residency = Residency(loader.load, self._runner.slots, limits, self._notify, metrics)
        self._loop = EngineLoop(base, self._runner, self._residency, config, metrics)
        self._pins = self._loop.pins
        self._grammars = GrammarCompiler(base.tokenizer, self._runner.vocabulary_size, _end_ids(base))
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def max_waiting(self) -> int:
        """Requests that may wait."""
        return self._config.max_waiting

    @property
    def alive(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive() and not self._closed

    def submit(self, request: GenerationRequest) -> TokenStream:
        """Queues a request; its output comes through the stream. Raises as `submit_all` does."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[GenerationRequest]) -> list[TokenStream]:
        """Queues requests together, or none of them.

        Raises:
            InvalidPromptError: a prompt is empty, or names a token that the base does not have.
            PromptTooLongError: a prompt and its new tokens exceed the context.
            InvalidAdaptersError: an adapter is named twice.
            QueueFullError: as many requests wait as may.
            EngineClosedError: the engine is shutting down.
        """
        runs, streams = [], []
        for request in requests:
            self._check(request.prompt_ids, request.params.max_tokens)
            check_adapters(request.adapters, self._config.max_loras)
            streams.append(TokenStream(len(request.prompt_ids), on_cancel=self._notify))
            output = Answering(request, streams[-1], self._tokenizer, self._metrics)
            scoring = request.params.prompt_logprobs is not None and len(request.prompt_ids) > 1
            runs.append(Run(request, output, score_from=1 if scoring else None))
        self._enqueue(runs)
        return streams

    def score(self, requests: Sequence[ScoreRequest]) -> "list[Future[tuple[Scores, ...]]]":
        """Queues scorings; one future each, in their order, with the scores of each continuation.

        Raises:
            InvalidPromptError: a context or a continuation is empty, or holds a token that the base does not have.
            PromptTooLongError: a context and all its continuations together, but for the last token of each, exceed
                the context's length.
            InvalidAdaptersError: an adapter is named twice.
            QueueFullError: fewer places are left in the queue than there are requests.
            EngineClosedError: the engine is shutting down.
        """
        for request in requests:
            self._check_scoring(request)
            check_adapters(request.adapters, self._config.max_loras)
        futures: list[Future[tuple[Scores, ...]]] = [Future() for _ in requests]
        for future in futures:
            future.add_done_callback(self._notify_of_cancellation)
        self._enqueue([_scoring(request, future) for request, future in zip(requests, futures, strict=True)])
        return futures

    def placement(self, digest: str) -> Placement:
        """Where an adapter is."""
        return self._residency.placement(digest)

    def resident(self) -> list[str]:
        """Digests of the adapters on the device, least recently used first."""
        return self._residency.resident()

    def in_use(self) -> set[str]:
        """Digests of the adapters that requests or pins hold or wait for."""
        return self._residency.in_use()

    def pin(self, source: AdapterSource) -> "Future[None]":
        """Keeps an adapter on the device; done once it is there and has been found to do what it should.

        Raises:
            TooManyPinsError: pinned adapters would take the last slot.
            EngineClosedError: the engine is shutting down.
        """
        with self._changed:
            if not self.alive:
                raise EngineClosedError
            future = self._pins.pin(source)
        self._notify()
        return future

    def unpin(self, digest: str) -> bool:
        """Lets a pinned adapter be evicted again; whether it was pinned."""
        return self._pins.unpin(digest)

    def pinned(self) -> list[str]:
        """Digests of pinned adapters."""
        return self._pins.pinned()

    def close(self) -> None:
        """Fails what waits and runs, and stops the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._residency.close()
        self._grammars.close()

    def _check(self, token_ids: Sequence[int], num_new: int) -> None:
        if not token_ids:
            raise InvalidPromptError("the prompt is empty: it needs at least one token")
        self._check_ids(token_ids)
        if len(token_ids) + num_new > self.context_tokens:
            raise PromptTooLongError(len(token_ids), num_new, self.context_tokens)

    def _check_scoring(self, request: ScoreRequest) -> None:
        if not request.continuations or not all(request.continuations):
            raise InvalidPromptError("a continuation is empty: there is nothing to score")
        num_new = sum(len(each) - 1 for each in request.continuations)
        self._check(request.context_ids, num_new)
        for each in request.continuations:
            self._check_ids(each)

    def _check_ids(self, token_ids: Sequence[int]) -> None:
        if min(token_ids) < 0 or max(token_ids) >= self._num_embeddings:
            raise InvalidPromptError(f"the prompt holds a token id outside 0 to {self._num_embeddings - 1}")

    def _enqueue(self, runs: Sequence[Run]) -> None:
        with self._changed:
            if not self.alive:
                raise EngineClosedError
            if self._loop.num_waiting + len(self._arrived) + len(runs) > self._config.max_waiting:
                raise QueueFullError(self._config.max_waiting, _RETRY_AFTER_SECONDS)
            for run in runs:
                run.leases = self._residency.lease_together([use.source for use in run.request.adapters])
                if (grammar := run.request.params.grammar) is not None:
                    run.grammar = self._grammars.compile(grammar)
                    run.grammar.add_done_callback(lambda _: self._notify())
                self._arrived.append(run)
            self._changed.notify()

    def _notify(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify()

    def _notify_of_cancellation(self, future: "Future[tuple[Scores, ...]]") -> None:
        if future.cancelled():
            self._notify()

    def _run(self) -> None:
        use_threads(self._runner.kernels.num_threads)
        try:
            while self._wait():
                self._loop.step()
        except Exception:  # noqa: BLE001 - whatever ends the thread, every request must be told
            _log.critical("the engine thread dies", exc_info=True)
        finally:
            self._end()

    def _wait(self) -> bool:
        """Takes in what has arrived, and waits until something can be done; false when the engine is closing."""
        with self._changed:
            while not self._closed:
                self._loop.take(self._arrived)
                self._arrived.clear()
                if self._news:
                    self._news = False
                    self._loop.notice()
                if self._loop.busy:
                    return True
                if not self._changed.wait(self._loop.patience_seconds):
                    # A deadline may be over.
                    self._news = True
            return False

    def _end(self) -> None:
        with self._changed:
            died, self._closed = not self._closed, True
            self._loop.take(self._arrived)
            self._arrived.clear()
        error = EngineFailedError(_DEATH) if died else EngineClosedError()
        try:
            self._loop.fail_all(error)
            self._pins.fail(error)
        finally:
            if died:
                self._on_death()


def _end_ids(base: LoadedBase) -> frozenset[int]:
    end_id = base.tokenizer.eos_token_id
    return frozenset() if end_id is None else frozenset({int(end_id)})


def _scoring(request: ScoreRequest, future: "Future[tuple[Scores, ...]]") -> Run:
    branches = Branches(len(request.context_ids), request.continuations)
    as_generation = GenerationRequest(
        prompt_ids=request.context_ids + branches.token_ids,
        params=SamplingParams(max_tokens=0, prompt_logprobs=1),
        stop_ids=frozenset(),
        adapters=request.adapters,
        tenant=request.tenant,
        timeout_seconds=request.timeout_seconds,
    )
    return Run(as_generation, Scoring(future, branches), score_from=branches.num_context, branches=branches)
