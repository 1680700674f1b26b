"""The engine: one thread owns the model; requests enter and tokens leave through queues.

This version runs static batches: whatever waits with its adapter in memory, up to `max_num_seqs` requests, runs to the
end before the next batch begins. Batches mix adapters freely.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from adapters.config import LoraConfig
from adapters.errors import AdapterError
from adapters.weights import LoraWeights, load_weights
from base.loader import LoadedBase
from base.shapes import embedding_rows, module_shapes
from service.engine.batch import NO_LAYERS, GenerationBatch, Work
from service.engine.errors import (
    AdapterLoadError,
    EngineClosedError,
    EngineError,
    EngineFailedError,
    InvalidPromptError,
    PromptTooLongError,
    QueueFullError,
)
from service.engine.layers import Routing, fold, wrap
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource, Delta, EngineConfig, GenerationRequest, ScoreRequest, Scores
from service.engine.residency import Layers, Lease, Residency
from service.engine.scoring import score_batch
from service.engine.stream import TokenStream

_log = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 5


@dataclass(eq=False)
class _Generation:
    request: GenerationRequest
    stream: TokenStream
    lease: Lease | None

    @property
    def num_tokens(self) -> int:
        return len(self.request.prompt_ids)


@dataclass(eq=False)
class _Scoring:
    request: ScoreRequest
    future: "Future[Scores]"
    lease: Lease | None

    @property
    def num_tokens(self) -> int:
        return len(self.request.token_ids)


_Ticket = _Generation | _Scoring


class Engine:
    """Generates and scores on one base with any adapters, from any number of threads.

    Takes ownership of `base.model` and wraps its linear layers.
    """

    def __init__(self, base: LoadedBase, config: EngineConfig, metrics: EngineMetrics) -> None:
        self._base = base
        self._config = config
        self._metrics = metrics
        self._routing = Routing()
        self._shapes = module_shapes(base.model)
        self._num_embeddings = embedding_rows(base.model)
        self._layers = wrap(base.model, self._routing)
        self._waiting: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._residency = Residency(self._load, config.max_loras, self._notify)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def context_tokens(self) -> int:
        """The longest prompt and answer together, in tokens."""
        return self._base.context_tokens

    @property
    def max_waiting(self) -> int:
        """Requests that may wait for a batch."""
        return self._config.max_waiting

    @property
    def alive(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive() and not self._closed

    def resident(self) -> list[str]:
        """Digests of the adapters in memory, least recently used first."""
        return self._residency.resident()

    def submit(self, request: GenerationRequest) -> TokenStream:
        """Queues a request; its output comes through the stream. Raises as `submit_all` does."""
        return self.submit_all([request])[0]

    def submit_all(self, requests: Sequence[GenerationRequest]) -> list[TokenStream]:
        """Queues requests together, or none of them; so far as there is room they run in one batch.

        Raises:
            InvalidPromptError: a prompt is empty, or names a token that the base does not have.
            PromptTooLongError: a prompt and its new tokens exceed the context.
            QueueFullError: as many requests wait as may.
            EngineClosedError: the engine is shutting down.
        """
        for request in requests:
            self._refuse_unknown_tokens(request.prompt_ids)
            num_prompt, num_new = len(request.prompt_ids), request.params.max_tokens
            if num_prompt + num_new > self.context_tokens:
                raise PromptTooLongError(num_prompt, num_new, self.context_tokens)
        tickets = [_Generation(request, TokenStream(len(request.prompt_ids)), None) for request in requests]
        self._enqueue(tickets)
        return [ticket.stream for ticket in tickets]

    def score(self, requests: Sequence[ScoreRequest]) -> "list[Future[Scores]]":
        """Queues scorings; one future each, in their order.

        Raises:
            InvalidPromptError: a sequence has nothing before its first scored token, or a token the base does not have.
            PromptTooLongError: a sequence exceeds the context.
            QueueFullError: fewer places are left in the queue than there are requests.
            EngineClosedError: the engine is shutting down.
        """
        for request in requests:
            self._refuse_unknown_tokens(request.token_ids)
            if not 1 <= request.start <= len(request.token_ids):
                raise InvalidPromptError("a sequence's first token is predicted by nothing and cannot be scored")
            if len(request.token_ids) > self.context_tokens:
                raise PromptTooLongError(len(request.token_ids), 0, self.context_tokens)
        tickets = [_Scoring(request, Future(), None) for request in requests]
        self._enqueue(tickets)
        return [ticket.future for ticket in tickets]

    def close(self) -> None:
        """Ends the batch under way, fails what still waits, and stops the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._residency.close()

    def _refuse_unknown_tokens(self, token_ids: Sequence[int]) -> None:
        if not token_ids:
            raise InvalidPromptError("the prompt is empty: it needs at least one token")
        if min(token_ids) < 0 or max(token_ids) >= self._num_embeddings:
            raise InvalidPromptError(f"the prompt holds a token id outside 0 to {self._num_embeddings - 1}")

    def _enqueue(self, tickets: Sequence[_Ticket]) -> None:
        with self._changed:
            if self._closed:
                raise EngineClosedError
            if len(self._waiting) + len(tickets) > self._config.max_waiting:
                raise QueueFullError(self._config.max_waiting, _RETRY_AFTER_SECONDS)
            for ticket in tickets:
                if ticket.request.adapter is not None:
                    ticket.lease = self._residency.lease(ticket.request.adapter)
                self._waiting.append(ticket)
            self._metrics.set_waiting(len(self._waiting))
            self._changed.notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._run_batch(batch)
            except Exception:  # noqa: BLE001 - one batch's fault must not end the thread that serves the others
                _log.exception("a batch of %d requests failed", len(batch))
                _fail(batch, EngineFailedError("the batch failed inside the engine; see the server's log"))
            finally:
                self._release(batch)
        with self._changed:
            _fail(self._waiting, EngineClosedError())
            self._waiting.clear()

    def _next_batch(self) -> Sequence[_Ticket]:
        """The oldest requests of one kind that can run now; empty when the engine is closing."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or any(_ready(ticket) for ticket in self._waiting))
                if self._closed:
                    return []
                self._drop_ended()
                batch = self._choose()
                for ticket in batch:
                    self._waiting.remove(ticket)
                self._metrics.set_waiting(len(self._waiting))
                if batch:
                    return batch

    def _choose(self) -> Sequence[_Ticket]:
        ready = [ticket for ticket in self._waiting if _ready(ticket)]
        if not ready:
            return []
        kind = type(ready[0])
        alike = [ticket for ticket in ready if isinstance(ticket, kind)]
        return _within_tokens(alike[: self._config.max_num_seqs], self._max_pass_tokens(kind))

    def _max_pass_tokens(self, kind: type[_Ticket]) -> int:
        if kind is _Generation:
            return self._config.max_num_batched_tokens
        # A scoring pass holds the logits of every token, and a vocabulary may have 262,144 entries.
        rows = self._config.max_logits // self._num_embeddings
        return max(1, min(self._config.max_num_batched_tokens, rows))

    def _drop_ended(self) -> None:
        """Answers requests that need no batch: their adapter failed to load, or nobody waits for them any more."""
        for ticket in list(self._waiting):
            error = ticket.lease.error if ticket.lease is not None else None
            if error is not None:
                _fail([ticket], error)
            elif isinstance(ticket, _Generation) and ticket.stream.cancelled:
                ticket.stream.put(Delta("", (), "cancelled"))
            else:
                continue
            self._waiting.remove(ticket)
            self._release([ticket])

    def _run_batch(self, batch: Sequence[_Ticket]) -> None:
        with self._metrics.running(len(batch)):
            # From here on a future can no longer be cancelled, so that its result has a place to go.
            scorings = [
                ticket
                for ticket in batch
                if isinstance(ticket, _Scoring) and ticket.future.set_running_or_notify_cancel()
            ]
            works = [
                Work(ticket.request, ticket.stream, _layers(ticket))
                for ticket in batch
                if isinstance(ticket, _Generation)
            ]
            if works:
                GenerationBatch(self._base.model, self._base.tokenizer, self._routing, works, self._metrics).run()
            if scorings:
                requests = [ticket.request for ticket in scorings]
                layers = [_layers(ticket) for ticket in scorings]
                results = score_batch(self._base.model, self._routing, requests, layers)
                for ticket, scores in zip(scorings, results, strict=True):
                    ticket.future.set_result(scores)

    def _release(self, batch: Iterable[_Ticket]) -> None:
        for ticket in batch:
            if ticket.lease is not None:
                self._residency.release(ticket.lease)

    def _load(self, source: AdapterSource) -> Layers:
        try:
            config = LoraConfig.read(source.folder)
            weights = load_weights(source.folder, config)
        except AdapterError as error:
            raise AdapterLoadError(f"adapter {source.digest}: {error}") from error
        for name, part in weights.items():
            self._refuse_misfit(source, name, part)
        with torch.inference_mode():
            return {
                name: fold(
                    self._layers[name].base,
                    part.lora_a_RI,
                    part.lora_b_OR,
                    part.magnitude_O,
                    config.scaling(name),
                    self._base.device,
                )
                for name, part in weights.items()
            }

    def _refuse_misfit(self, source: AdapterSource, name: str, part: LoraWeights) -> None:
        found = (part.lora_b_OR.shape[0], part.lora_a_RI.shape[1])
        if self._shapes.get(name) != found:
            has = self._shapes.get(name, "no such layer")
            raise AdapterLoadError(f"adapter {source.digest}: {name} has shape {found}, base {self._base.name} {has}")


def _ready(ticket: _Ticket) -> bool:
    return ticket.lease is None or not ticket.lease.pending


def _layers(ticket: _Ticket) -> Layers:
    if ticket.lease is None:
        return NO_LAYERS
    assert ticket.lease.layers is not None
    return ticket.lease.layers


def _within_tokens(tickets: Sequence[_Ticket], max_tokens: int) -> list[_Ticket]:
    """The first so many that fit one padded pass; at least one."""
    longest, chosen = 0, 0
    for count, ticket in enumerate(tickets, start=1):
        longest = max(longest, ticket.num_tokens)
        if count > 1 and longest * count > max_tokens:
            break
        chosen = count
    return list(tickets[:chosen])


def _fail(tickets: Iterable[_Ticket], error: EngineError) -> None:
    for ticket in tickets:
        if isinstance(ticket, _Generation):
            ticket.stream.put(error)
        elif not ticket.future.done():
            ticket.future.set_exception(error)
