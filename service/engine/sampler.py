"""The engine behind evaluation's `Sampler` protocol."""

import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from evaluation.sampler import Completion, GenerateRequest, ScoredContinuation, ScoredGroup, ScoreGroup
from service.engine.engine import Engine
from service.engine.request import (
    DEFAULT_TENANT,
    AdapterUse,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    Scores,
)

_MAX_IN_FLIGHT = 128
"""Requests of one caller that wait or run at once, and at most half of what may wait: an evaluation must not fill the
queue for everybody."""


@dataclass(frozen=True)
class Route:
    """Where a model's requests go."""

    adapters: tuple[AdapterUse, ...]
    stop_ids: frozenset[int]
    tenant: str = DEFAULT_TENANT


class EngineSampler:
    """Implements `evaluation.sampler.Sampler`; `route` turns a model's name into what the engine needs."""

    def __init__(self, engine: Engine, route: Callable[[str | None], Route]) -> None:
        self._engine = engine
        self._route = route
        self._in_flight = max(1, min(_MAX_IN_FLIGHT, engine.max_waiting // 2))

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
        """One completion for each request, as they finish."""
        routes = {model: self._route(model) for model in {request.model for request in requests}}
        finished: queue.SimpleQueue[Completion | BaseException] = queue.SimpleQueue()
        with ThreadPoolExecutor(self._in_flight, thread_name_prefix="sampler") as pool:
            for index, request in enumerate(requests):
                pool.submit(self._complete, index, request, routes[request.model], finished)
            try:
                for _ in requests:
                    item = finished.get()
                    if isinstance(item, BaseException):
                        raise item
                    yield item
            finally:
                # Also where the caller stops iterating: what has not begun need not.
                pool.shutdown(wait=False, cancel_futures=True)

    def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
        """The scores of each group, in order."""
        routes = {model: self._route(model) for model in {group.model for group in groups}}
        requests = [
            ScoreRequest(
                context_ids=group.context_ids,
                continuations=continuations,
                adapters=routes[group.model].adapters,
                tenant=routes[group.model].tenant,
            )
            for group in groups
            for continuations in _fitting(group, self._engine.context_tokens)
        ]
        scores = self._score_all(requests)
        return [
            ScoredGroup(continuations=tuple(_scored(next(scores)) for _ in group.continuations)) for group in groups
        ]

    def _score_all(self, requests: Sequence[ScoreRequest]) -> Iterator[Scores]:
        """The scores of all continuations; the engine always has as many requests as may be in flight."""
        waiting: deque[Future[tuple[Scores, ...]]] = deque()
        try:
            for request in requests:
                if len(waiting) == self._in_flight:
                    yield from waiting.popleft().result()
                waiting += self._engine.score([request])
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _complete(
        self,
        index: int,
        request: GenerateRequest,
        route: Route,
        finished: "queue.SimpleQueue[Completion | BaseException]",
    ) -> None:
        try:
            finished.put(self._answer(index, request, route))
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            finished.put(error)

    def _answer(self, index: int, request: GenerateRequest, route: Route) -> Completion:
        params = SamplingParams(
            max_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed, stop=request.stop
        )
        generation = GenerationRequest(
            prompt_ids=request.prompt_ids,
            params=params,
            stop_ids=route.stop_ids,
            adapters=route.adapters,
            tenant=route.tenant,
        )
        answer = self._engine.submit(generation).answer()
        return Completion(
            index=index,
            text=answer.text,
            token_ids=answer.token_ids,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            seconds=answer.seconds,
        )


def _scored(scores: Scores) -> ScoredContinuation:
    return ScoredContinuation(logprobs=scores.logprobs, is_greedy=scores.is_greedy)


def _fitting(group: ScoreGroup, context_tokens: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The group's continuations, as many at a time as stand beside their context in one sequence."""
    room = context_tokens - len(group.context_ids)
    together: list[tuple[int, ...]] = []
    taken = 0
    for continuation in group.continuations:
        if together and taken + len(continuation) - 1 > room:
            yield tuple(together)
            together, taken = [], 0
        together.append(continuation)
        taken += len(continuation) - 1
    yield tuple(together)
