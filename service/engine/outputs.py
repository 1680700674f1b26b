"""Where sequences' results go: answers into streams, scores into futures."""

from collections.abc import Sequence
from concurrent.futures import Future

from transformers import PreTrainedTokenizerBase

from service.engine.branches import Branches
from service.engine.detokenizer import Detokenizer
from service.engine.errors import EngineError
from service.engine.metrics import EngineMetrics
from service.engine.request import Delta, FinishReason, GenerationRequest, Scores, TokenLogprob
from service.engine.sampling.sampler import Choice
from service.engine.stream import TokenStream


class Answering:
    """One answer: tokens become text, stop strings and bounds end it."""

    def __init__(
        self,
        request: GenerationRequest,
        stream: TokenStream,
        tokenizer: PreTrainedTokenizerBase,
        metrics: EngineMetrics,
    ) -> None:
        self._params = request.params
        self._end_ids = request.params.stop_token_ids | (frozenset() if request.params.ignore_eos else request.stop_ids)
        self._names = tuple(use.source.name for use in request.adapters)
        self._stream = stream
        self._detokenizer = Detokenizer(tokenizer, request.params.stop)
        self._metrics = metrics
        self._num_new = 0
        self._prompt_logprobs: list[TokenLogprob] = []
        self._queue_seconds: float | None = None
        self._first_seconds = 0.0

    @property
    def cancelled(self) -> bool:
        """Whether the consumer went away."""
        return self._stream.cancelled

    def admitted(self, cached_tokens: int) -> None:
        """It runs; after a preemption it is admitted again."""
        if self._queue_seconds is None:
            self._queue_seconds = self._stream.age_seconds
            self._stream.cached_tokens = cached_tokens

    def scored(self, logprobs: Sequence[TokenLogprob]) -> None:
        """Kept until the next delta."""
        self._prompt_logprobs += logprobs

    def chosen(self, choice: Choice) -> bool:
        """Passes on what the token makes certain; whether the answer ends with it."""
        token = choice.token_id
        self._num_new += 1
        if self._num_new == 1:
            self._count_first()
        may_stop = self._num_new > self._params.min_tokens
        logprobs = () if choice.logprob is None else (choice.logprob,)
        if token in self._end_ids and may_stop:
            self._end("stop", (token,), "", logprobs)
            return True
        text = self._detokenizer.add(token, may_stop=self._num_new >= self._params.min_tokens)
        if self._detokenizer.stopped:
            self._end("stop", (token,), text, logprobs)
        elif self._num_new >= self._params.max_tokens:
            self._end("length", (token,), text, logprobs)
        else:
            self._put(Delta(text, (token,), None, logprobs, self._take_prompt_logprobs()))
            return False
        return True

    def ended(self, reason: FinishReason) -> None:
        """Without another token."""
        self._end(reason, (), "", ())

    def failed(self, error: EngineError) -> None:
        """The stream ends with the error."""
        self._metrics.finished(self._num_new, self._stream.age_seconds, "error", self._names)
        self._stream.put(error)

    def _end(
        self, reason: FinishReason, token_ids: tuple[int, ...], text: str, logprobs: tuple[TokenLogprob, ...]
    ) -> None:
        seconds = self._stream.age_seconds
        if self._num_new > 1:
            self._metrics.between_tokens((seconds - self._first_seconds) / (self._num_new - 1), self._num_new - 1)
        self._metrics.finished(self._num_new, seconds, reason, self._names)
        text += self._detokenizer.finish()
        self._put(Delta(text, token_ids, reason, logprobs, self._take_prompt_logprobs()))

    def _put(self, delta: Delta) -> None:
        self._stream.put(delta)

    def _count_first(self) -> None:
        self._first_seconds = self._stream.age_seconds
        self._metrics.first_token(self._stream.prompt_tokens, self._first_seconds, self._queue_seconds or 0.0)

    def _take_prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken, self._prompt_logprobs = tuple(self._prompt_logprobs), []
        return taken


class Scoring:
    """Logprobs of continuations that stand in one sequence."""

    def __init__(self, future: "Future[tuple[Scores, ...]]", branches: Branches) -> None:
        self._future = future
        self._branches = branches
        self._found: list[TokenLogprob] = []

    @property
    def cancelled(self) -> bool:
        """Whether the caller gave up."""
        return self._future.cancelled()

    def admitted(self, cached_tokens: int) -> None:
        """Nothing to be told."""

    def scored(self, logprobs: Sequence[TokenLogprob]) -> None:
        """Kept until all are there."""
        self._found += logprobs

    def chosen(self, choice: Choice) -> bool:
        """No token is asked for."""
        raise AssertionError(choice)

    def ended(self, reason: FinishReason) -> None:
        """All are there, unless it was cancelled."""
        del reason
        # From here on a future can no longer be cancelled, so that its result has a place to go.
        if self._future.set_running_or_notify_cancel():
            self._future.set_result(tuple(map(_scores, self._branches.split(self._found))))

    def failed(self, error: EngineError) -> None:
        """The future fails."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(error)


def _scores(found: Sequence[TokenLogprob]) -> Scores:
    return Scores(
        tuple(each.logprob for each in found),
        tuple(each.top[0][0] == each.token_id for each in found),
    )
