"""What the engine thread does: one step after another.

Shape legend: N rows of logits of one step, V vocabulary.
"""

import logging
import math
import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from base.loader import LoadedBase
from service.engine.cache.pages import Pages
from service.engine.errors import DeadlineError, EngineError, EngineFailedError
from service.engine.metrics import EngineMetrics
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig, FinishReason
from service.engine.residency import Residency
from service.engine.sampling.logprobs import logprobs
from service.engine.sampling.matcher import Matcher
from service.engine.sampling.sampler import Choice, sample
from service.engine.sampling.state import SamplingState
from service.engine.scheduling.pace import Pace
from service.engine.scheduling.scheduler import Part, Scheduler, SchedulerLimits
from service.engine.scheduling.sequence import Sequence as Run
from service.engine.verifier import Canary, Verifier

_log = logging.getLogger(__name__)

_MAX_FAILURES = 3
"""Steps that may fail one after the other; a device that has failed for good fails each of them."""
_IDLE_SECONDS = 0.05
"""Between looks at deadlines and cancellations, while sequences wait for something."""
_NOT_A_NUMBER = "the model's output is not a number; the adapter's weights may be too large"


class EngineLoop:
    """Scheduler, model and sampling put together; every method runs on the engine's thread."""

    def __init__(
        self, base: LoadedBase, runner: ModelRunner, residency: Residency, config: EngineConfig, metrics: EngineMetrics
    ) -> None:
        self._runner, self._residency, self._metrics = runner, residency, metrics
        self._verifier = Verifier(base, runner)
        self.vocabulary_size = runner.vocabulary_size
        self._pace = Pace()
        self._pages = Pages(runner.cache.num_pages, runner.cache.page_tokens, config.prefix_caching)
        limits = SchedulerLimits(
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=max(config.max_num_batched_tokens, config.max_num_seqs),
            max_logit_rows=max(config.max_num_seqs, config.max_logits // self.vocabulary_size),
        )
        self._scheduler = Scheduler(self._pages, limits, self._ready, self._pace)
        self._failures = 0
        self._num_preemptions = 0
        self._next_look = 0.0
        self._waiting_adapters: list[str] = []

    @property
    def num_waiting(self) -> int:
        """Requests that do not run yet."""
        return len(self._scheduler.waiting)

    @property
    def busy(self) -> bool:
        """Whether a step can do something."""
        return bool(self._scheduler.running) or any(
            self._ready(run) or self._to_check(run) or self._is_over(run) for run in self._scheduler.waiting
        )

    @property
    def patience_seconds(self) -> float | None:
        """How long to wait at most for news."""
        return _IDLE_SECONDS if self.num_waiting else None

    def take(self, runs: Iterable[Run]) -> None:
        """New sequences."""
        for run in runs:
            self._scheduler.waiting.push(run)

    def step(self) -> None:
        """Ends what is over, computes the next tokens, and hands them out."""
        self._end_running()
        self._look_at_waiting()
        parts = self._scheduler.plan()
        if abandoned := self._scheduler.take_abandoned():
            self._runner.scrub(abandoned)
        if not parts:
            self._count(0)
            time.sleep(1e-3)
            return
        start = time.perf_counter()
        try:
            logits_NV = self._runner.run([self._work(part) for part in parts])
            self._hand_out(parts, logits_NV)
            self._failures = 0
        except Exception as error:
            self._failures += 1
            _log.exception("a step of %d sequences failed", len(parts))
            self._fail_step(parts)
            if self._failures >= _MAX_FAILURES:
                raise EngineFailedError(f"{self._failures} steps failed one after the other") from error
        num_single = sum(part.count == 1 for part in parts)
        num_tokens = sum(part.count for part in parts)
        self._pace.record(num_single, num_tokens - num_single, time.perf_counter() - start)
        self._count(num_tokens)

    def fail_all(self, error: EngineError) -> None:
        """Ends every sequence."""
        running, waiting = list(self._scheduler.running), self._scheduler.waiting.drop(lambda _: True)
        # Everybody is told before anything is touched that may have failed.
        for run in [*running, *waiting]:
            run.output.failed(error)
        for run in running:
            self._end(run)
        for run in waiting:
            self._release(run)

    def check_integrity(self) -> None:
        """Asserts what holds between steps."""
        self._scheduler.check_integrity()
        self._residency.check_integrity()

    def _work(self, part: Part) -> Work:
        run = part.sequence
        assert run.table is not None
        end = run.num_computed + part.count
        span = Span(run.token_ids[run.num_computed : end], run.num_computed, run.table.pages)
        wanted = list(run.wanted(part.count))
        if self._wants_token(part):
            wanted.append(part.count - 1)
        return Work(span, run.uses, wanted)

    def _wants_token(self, part: Part) -> bool:
        return part.count == part.sequence.num_left and part.sequence.request.params.max_tokens > 0

    @torch.inference_mode()
    def _hand_out(self, parts: Sequence[Part], logits_NV: Tensor) -> None:
        """The logits' rows are part by part: first those that score the prompt, then the one that chooses a token."""
        row, choosing, rows = 0, [], []
        for part in parts:
            run, num_scored, wants_token = part.sequence, len(part.sequence.wanted(part.count)), self._wants_token(part)
            self._scheduler.computed(part)
            is_sound = num_scored == 0 or self._score(run, logits_NV[row : row + num_scored])
            row += num_scored + wants_token
            if not is_sound:
                self._scrub(run)
                self._fail(run, EngineFailedError(_NOT_A_NUMBER))
            elif wants_token:
                choosing.append(run)
                rows.append(row - 1)
            elif run.num_left == 0:
                self._finish_scored(run)
        # Rows may be changed by the sampler, and scoring is done with them.
        self._choose(choosing, logits_NV if len(rows) == len(logits_NV) else logits_NV[rows])

    def _score(self, run: Run, logits_NV: Tensor) -> bool:
        """Whether the logits are numbers."""
        first = run.num_scored
        assert first is not None
        run.num_scored = first + len(logits_NV)
        targets = torch.tensor(run.token_ids[first : run.num_scored], device=logits_NV.device)
        found = logprobs(logits_NV, targets, run.request.params.prompt_logprobs or 0)
        run.output.scored(found)
        return not any(math.isnan(each.logprob) for each in found)

    def _finish_scored(self, run: Run) -> None:
        """Nothing tells whether the last token, or a prompt that was not scored, is sound."""
        if run.scores_prompt:
            self._scheduler.proven(run, run.num_prompt - 1)
        self._scrub(run)
        self._finish(run, "length")

    def _choose(self, runs: Sequence[Run], logits_NV: Tensor) -> None:
        answering = [at for at, run in enumerate(runs) if not isinstance(run.output, Canary)]
        for at, run in enumerate(runs):
            if isinstance(run.output, Canary):
                self._verifier.decide(run.output, logits_NV[at])
                self._scrub(run)
                self._end(run)
        if len(answering) < len(runs):
            logits_NV = logits_NV[answering]
        states = [self._state(runs[at]) for at in answering]
        for at, choice in zip(answering, sample(logits_NV, states) if states else (), strict=True):
            self._accept(runs[at], choice)

    def _accept(self, run: Run, choice: Choice) -> None:
        state = self._state(run)
        if choice.failed:
            self._scrub(run)
            self._fail(run, state.failure or EngineFailedError(_NOT_A_NUMBER))
            return
        self._scheduler.proven(run, run.num_computed)
        state.accept(choice.token_id)
        run.token_ids.append(choice.token_id)
        if run.output.chosen(choice):
            self._end(run)
        elif state.ended:
            self._finish(run, "stop")

    def _state(self, run: Run) -> SamplingState:
        if run.state is None:
            request = run.request
            matcher = None if run.grammar is None else Matcher(run.grammar.result(), request.stop_ids)
            run.state = SamplingState(
                request.params, request.prompt_ids, request.stop_ids, self.vocabulary_size, matcher
            )
        return run.state

    def _ready(self, run: Run) -> bool:
        if any(lease.slot is None for lease in run.leases):
            return False
        if isinstance(run.output, Canary):
            return True
        if not all(self._verifier.sound(lease.source.digest) for lease in run.leases):
            return False
        # One that cannot be compiled may turn out so after this step's look at what is over.
        return run.grammar is None or (run.grammar.done() and run.grammar.exception() is None)

    def _to_check(self, run: Run) -> bool:
        return any(lease.slot is not None and self._verifier.wanted(lease.source.digest) for lease in run.leases)

    def _check_adapters(self) -> None:
        for run in list(self._scheduler.waiting):
            for lease in run.leases:
                if lease.slot is not None and self._verifier.wanted(lease.source.digest):
                    self._scheduler.waiting.push(self._verifier.check(self._residency.lease_beside(lease)))

    def _look_at_waiting(self) -> None:
        """Ends what nobody waits for any more, what cannot run, and what had its time; has new adapters checked.

        With a thousand waiting that takes as long as a tenth of a step, so not at every one.
        """
        now = time.monotonic()
        if self._scheduler.running and now < self._next_look:
            return
        self._next_look = now + _IDLE_SECONDS
        for run in self._scheduler.waiting.drop(self._is_over):
            self._release(run)
            self._answer(run)
        self._check_adapters()
        self._waiting_adapters = _names(self._scheduler.waiting)

    def _end_running(self) -> None:
        for run in [each for each in self._scheduler.running if self._is_over(each)]:
            self._scrub(run)
            self._end(run)
            self._answer(run)

    def _is_over(self, run: Run) -> bool:
        return run.output.cancelled or self._error(run) is not None

    def _answer(self, run: Run) -> None:
        error = self._error(run)
        if run.output.cancelled or error is None:
            run.output.ended("cancelled")
        else:
            run.output.failed(error)

    def _error(self, run: Run) -> EngineError | None:
        """Why the sequence cannot go on."""
        for lease in run.leases:
            if (error := lease.error or self._verifier.error(lease.source.digest)) is not None:
                return error
        if run.overdue(time.monotonic()):
            return DeadlineError(run.request.timeout_seconds or 0.0)
        if run.grammar is not None and run.grammar.done():
            reason = run.grammar.exception()
            return reason if reason is None or isinstance(reason, EngineError) else EngineFailedError(str(reason))
        return None

    def _finish(self, run: Run, reason: FinishReason) -> None:
        self._end(run)
        run.output.ended(reason)

    def _fail(self, run: Run, error: EngineError) -> None:
        self._end(run)
        run.output.failed(error)

    def _fail_step(self, parts: Sequence[Part]) -> None:
        error = EngineFailedError("the step failed inside the engine; see the server's log")
        for part in parts:
            if part.sequence in self._scheduler.running:
                self._scrub(part.sequence)
                self._fail(part.sequence, error)

    def _end(self, run: Run) -> None:
        """Takes a running sequence's pages and adapters back."""
        self._scheduler.finish(run)
        self._release(run)

    def _release(self, run: Run) -> None:
        for lease in run.leases:
            self._residency.release(lease)

    def _scrub(self, run: Run) -> None:
        """Others' masked scores would still meet what is not a number."""
        self._runner.scrub(self._scheduler.unproven_pages(run))

    def _count(self, num_tokens: int) -> None:
        running, waiting = self._scheduler.running, self._scheduler.waiting
        for _ in range(self._scheduler.num_preemptions - self._num_preemptions):
            self._metrics.preempted()
        self._num_preemptions = self._scheduler.num_preemptions
        self._metrics.step(
            running=len(running),
            waiting=len(waiting),
            tokens=num_tokens,
            cache_usage=self._pages.usage,
            prefix_queries=self._pages.queries,
            prefix_hits=self._pages.hits,
            running_adapters=_names(running),
            waiting_adapters=self._waiting_adapters if len(waiting) else [],
        )


def _names(runs: Iterable[Run]) -> list[str]:
    return sorted({use.source.name for run in runs for use in run.request.adapters})
