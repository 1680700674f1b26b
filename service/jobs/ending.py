"""How a claim ends: what is said of its job, and what is cleared away."""

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from service.jobs.bench import Bench
from service.jobs.errors import StaleClaimError
from service.jobs.hold import Hold
from service.jobs.job import JobError
from service.jobs.launcher import Running
from service.jobs.reports import TrainerReport
from service.jobs.stored_run import StoredRun
from storage.errors import StorageError, StorageUnavailableError

_log = logging.getLogger(__name__)

_STOPPED = 75
_KILLED = 128
_ENDED_BY_US = (_KILLED + signal.SIGTERM, _KILLED + signal.SIGKILL)
"""A trainer that was asked to stop before it could listen, or did not stop in time."""
_RETRY_SECONDS = 1.0
"""Between attempts to reach a store or database that is away."""

Result = TypeVar("Result")
Why = Literal["paused", "leaving", "memory"]
"""Why a trainer was asked to stop."""
_REASONS: dict[Why, str] = {
    "paused": "The job stopped to be paused, and was resumed meanwhile",
    "leaving": "The worker is shutting down; the job waits for another one",
    "memory": "Serving needs the memory; the job waits for some to be free",
}


class Ending:
    """The end of one claim.

    Args:
        bench: what the run works with.
        hold: on the claim.
        stored: the run's checkpoints in the store.
        report: what the trainer said.
        output: what the trainer writes; the workspace around it is removed in the end.
        leaving: set when the worker is to end.
    """

    def __init__(
        self,
        bench: Bench,
        hold: Hold,
        stored: StoredRun,
        report: TrainerReport,
        output: Path,
        leaving: threading.Event,
    ) -> None:
        self._bench = bench
        self._claim = hold.claim
        self._hold = hold
        self._stored = stored
        self._report = report
        self._output = output
        self._folder = output.parent
        self._leaving = leaving

    def settle(self, trainer: Running, status: int, why: Why | None) -> None:
        """What a trainer's end means for the job.

        Args:
            trainer: which has ended.
            status: its exit status.
            why: it was asked to stop; None if it was not.
        """
        report, queue = self._report, self._bench.queue
        if status == 0 and report.result is not None:
            self._succeed(report)
        elif status == _STOPPED or (status in _ENDED_BY_US and why is not None):
            self._put_back(why or "leaving")
        elif report.error is not None:
            self.fail(report.error)
        elif status > _KILLED:
            message = f"The trainer was ended by signal {status - _KILLED}; the job waits for another attempt"
            self.insist(lambda: queue.put_back(self._claim, message))
        else:
            words = trainer.last_words().splitlines()[-5:]
            message = "\n".join([f"the trainer ended with status {status}", *words])
            self.fail(JobError(code="training_failed", message=message))

    def _put_back(self, why: Why) -> None:
        delay = self._bench.settings.job_retry_seconds if why == "memory" else 0
        # A job that never gets as far as a step while serving needs the memory would otherwise load its base for ever.
        blameless = why != "memory" or self._report.step is not None
        self.insist(lambda: self._bench.queue.put_back(self._claim, _REASONS[why], delay, blameless=blameless))

    def _succeed(self, report: TrainerReport) -> None:
        assert report.result is not None
        result = report.result
        metrics = {
            name: float(result[name])
            for name in ("seconds", "tokens_per_second", "train_loss", "valid_loss", "base_valid_loss")
            if isinstance(result.get(name), int | float)
        }
        job, queue = self._claim.job, self._bench.queue
        # Early: nothing is copied and checked for a claim that is over. The guard decides.
        self.insist(self._hold.renew)
        guard = queue.guard(self._claim)
        model = self.insist(lambda: self._bench.publisher.publish(job, self._output, metrics, guard))
        self.insist(lambda: queue.succeed(self._claim, model, int(result["trained_tokens"])))
        self._clean_up()

    def fail_full(self, error: Exception) -> None:
        """There is no room for what the job needs."""
        # Where it is full is the operator's to know.
        _log.error("job %s: %s", self._claim.job.id, error)
        self.fail(JobError(code="disk_full", message="The disk or store that the job works on is full"))

    def fail(self, error: JobError) -> None:
        """The job has failed, and nothing of it is kept."""
        error = replace(error, message=self._report.shown(error.message))
        if self._say(lambda: self._bench.queue.fail(self._claim, error)):
            self._clean_up()

    def give_back(self, reason: str, error: Exception) -> None:
        """The job waits for another attempt."""
        _log.warning("job %s is put back: %s", self._claim.job.id, error)
        delay = self._bench.settings.job_retry_seconds
        self._say(
            lambda: self._bench.queue.put_back(self._claim, f"{reason}; the job waits for another attempt", delay)
        )

    def _say(self, work: Callable[[], None]) -> bool:
        """Tells the queue how it ends; False where nobody listens any more, or cannot before the lease is over."""
        try:
            self.insist(work)
        except (StaleClaimError, StorageError) as error:
            _log.warning("job %s is left to its lease: %s", self._claim.job.id, error)
            return False
        except Exception:  # noqa: BLE001 - as in `JobRun.run`
            _log.exception("job %s is left to its lease", self._claim.job.id)
            return False
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def drop_ended(self) -> None:
        """The objects of a job that was cancelled meanwhile; nobody else will look for them."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.tidy(lambda: self._stored.drop_all() if self._bench.queue.has_ended(self._claim.job.id) else None)

    def _clean_up(self) -> None:
        self.tidy(self._stored.drop_all)

    def tidy(self, work: Callable[[], None]) -> None:
        """Deletes what nobody needs; what cannot be deleted now stays."""
        try:
            work()
        except StorageError as error:
            _log.warning("job %s: old checkpoints were not removed: %s", self._claim.job.id, error)

    def insist(self, work: Callable[[], Result]) -> Result:
        """Does what must be done before the lease is over, while database and store may come back.

        Raises:
            StaleClaimError: there was not time enough, or the claim is over.
            StorageError: time does not heal it, or the worker is leaving.
        """
        while True:
            try:
                return work()
            except StorageUnavailableError as error:
                self._hold.check()
                if self._leaving.is_set():
                    raise
                _log.warning("job %s: another attempt follows: %s", self._claim.job.id, error)
                time.sleep(_RETRY_SECONDS)
