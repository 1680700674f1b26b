"""What the engine thread does: one step after another."""

import logging
import time
from collections.abc import Iterable, Sequence

from base.loader import LoadedBase
from service.engine.admission import Admission
from service.engine.cache.pages import Pages
from service.engine.endings import Endings
from service.engine.errors import EngineError, EngineFailedError
from service.engine.gauges import StepGauges
from service.engine.metrics import EngineMetrics
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig
from service.engine.residency.pins import Pins
from service.engine.residency.residency import Residency
from service.engine.residency.verifier import Verifier
from service.engine.results import Results, wants_token
from service.engine.scheduling.pace import Pace
from service.engine.scheduling.scheduler import Part, Scheduler, SchedulerLimits
from service.engine.scheduling.sequence import Sequence as Run

_log = logging.getLogger(__name__)

_MAX_FAILURES = 3
"""Steps that may fail one after the other; a device that has failed for good fails each of them."""
_LOOK_SECONDS = 0.05
"""Between looks at deadlines and cancellations of those who wait, while others run."""
_LONGEST_WAIT_SECONDS = 1.0
"""Without news while sequences wait. All that they wait for is announced; this bounds what an oversight costs."""


class EngineLoop:
    """Scheduler, model and sampling put together; every method runs on the engine's thread."""

    def __init__(
        self, base: LoadedBase, runner: ModelRunner, residency: Residency, config: EngineConfig, metrics: EngineMetrics
    ) -> None:
        self._runner, self._residency = runner, residency
        self._pace = Pace()
        self._pages = Pages(runner.cache.num_pages, runner.cache.page_tokens, config.prefix_caching)
        verifier = Verifier(base, runner)
        self.pins = Pins(residency, config.max_loras - 1)
        self._admission = Admission(residency, verifier, self.pins)
        limits = SchedulerLimits(
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=max(config.max_num_batched_tokens, config.max_num_seqs),
            max_logit_rows=max(config.max_num_seqs, config.max_logits // runner.vocabulary_size),
        )
        self._scheduler = Scheduler(self._pages, limits, self._admission.ready, self._pace)
        self._endings = Endings(self._scheduler, self._admission)
        self._results = Results(self._scheduler, verifier, self._endings, runner.vocabulary_size)
        self._gauges = StepGauges(self._scheduler, self._pages, metrics)
        self._failures = 0
        self._next_look = 0.0
        self._stuck = False

    @property
    def num_waiting(self) -> int:
        """Requests that do not run yet."""
        return len(self._scheduler.waiting)

    @property
    def busy(self) -> bool:
        """Whether a step can do something."""
        if self._scheduler.running:
            return True
        waiting, admission = self._scheduler.waiting, self._admission
        return not self._stuck and (
            admission.has_checks(waiting) or any(admission.ready(run) or admission.is_over(run) for run in waiting)
        )

    @property
    def patience_seconds(self) -> float | None:
        """How long to wait at most for news."""
        if not self.num_waiting:
            return None
        now = time.monotonic()
        return min(_LONGEST_WAIT_SECONDS, *(run.seconds_left(now) for run in self._scheduler.waiting))

    def take(self, runs: Iterable[Run]) -> None:
        """New sequences."""
        for run in runs:
            self._scheduler.waiting.push(run)
            self._stuck = False

    def notice(self) -> None:
        """Something has happened that sequences or pins may wait for, or time has passed."""
        self._next_look = 0.0
        self._stuck = False
        self._admission.settle_pins()

    def step(self) -> None:
        """Ends what is over, computes the next tokens, and hands them out."""
        for run in [each for each in self._scheduler.running if self._admission.is_over(each)]:
            self._endings.give_up(run)
        self._look_at_waiting()
        parts = self._scheduler.plan()
        if pages := self._scheduler.take_to_clear():
            self._runner.scrub(pages)
        # Where nothing can run, only news can change that.
        self._stuck = not parts
        self._gauges.count(self._run(parts) if parts else 0)

    def fail_all(self, error: EngineError) -> None:
        """Ends every sequence."""
        running, waiting = list(self._scheduler.running), self._scheduler.waiting.drop(lambda _: True)
        # Everybody is told before anything is touched that may have failed.
        for run in [*running, *waiting]:
            run.output.failed(error)
        for run in running:
            self._endings.end(run)
        for run in waiting:
            self._admission.release(run)

    def check_integrity(self) -> None:
        """Asserts what holds between steps."""
        self._scheduler.check_integrity()
        self._residency.check_integrity()

    def _run(self, parts: Sequence[Part]) -> int:
        """Computes the parts; how many tokens they are."""
        start = time.perf_counter()
        try:
            logits_NV = self._runner.run([_work(part) for part in parts])
            self._results.hand_out(parts, logits_NV)
            self._failures = 0
        except Exception as error:
            self._failures += 1
            _log.exception("a step of %d sequences failed", len(parts))
            self._fail_step(parts)
            if self._failures >= _MAX_FAILURES:
                raise EngineFailedError(f"{self._failures} steps failed one after the other") from error
        self._admission.settle_pins()
        num_single = sum(part.count == 1 for part in parts)
        num_tokens = sum(part.count for part in parts)
        self._pace.record(num_single, num_tokens - num_single, time.perf_counter() - start)
        return num_tokens

    def _look_at_waiting(self) -> None:
        """Ends what nobody waits for any more, what cannot run, and what had its time; has new adapters checked.

        With a thousand waiting that takes as long as a tenth of a step, so not at every one.
        """
        waiting, now = self._scheduler.waiting, time.monotonic()
        if self._scheduler.running and now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for run in waiting.drop(self._admission.is_over):
            self._admission.release(run)
            self._admission.answer(run)
        self.take(self._admission.checks(waiting))
        self._gauges.look_at_waiting()

    def _fail_step(self, parts: Sequence[Part]) -> None:
        error = EngineFailedError("the step failed inside the engine; see the server's log")
        for part in parts:
            if part.sequence in self._scheduler.running:
                self._endings.fail(part.sequence, error)


def _work(part: Part) -> Work:
    run = part.sequence
    assert run.table is not None
    end = run.num_computed + part.count
    span = Span(run.token_ids[run.num_computed : end], run.num_computed, run.table.pages, run.branches)
    wanted = list(run.wanted(part.count))
    if wants_token(part):
        wanted.append(part.count - 1)
    return Work(span, run.uses, wanted)
