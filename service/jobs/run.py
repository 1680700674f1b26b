"""One claim from its workspace to its end: the trainer is started, heard, held and stopped, and its work is kept.

Whatever happens, the database decides: a write that is refused means that the job is somebody else's, and then the
trainer is killed and nothing is touched any more.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from adapters.errors import AdapterError
from service.files.errors import UnknownFileError
from service.files.files import Files
from service.jobs.errors import LaunchError, StaleClaimError
from service.jobs.job import JobError, NewEvent
from service.jobs.launcher import Launch, Launcher, Resources, Running
from service.jobs.publisher import Publisher
from service.jobs.queue import Claim, NewCheckpoint, Progress, Queue
from service.jobs.reports import TrainerReport
from service.jobs.spec import bring_files, write_spec
from service.jobs.stored_run import StoredRun
from service.settings import Settings
from storage.errors import StorageError, StorageFullError
from storage.objects.store import ObjectStore

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_HEARTBEATS = 6
"""In a lease: so many may fail before the job is given up."""
_STOPPED = 75
_KILLED = 128
_RETRY_SECONDS = 1.0
"""Between attempts to reach a store or database that is away."""

Result = TypeVar("Result")
Why = Literal["paused", "leaving", "memory"]
"""Why a trainer was asked to stop."""
_REASONS: dict[Why, str] = {
    "paused": "paused",
    "leaving": "The worker is shutting down; the job waits for another one",
    "memory": "Serving needs the memory; the job waits for some to be free",
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every run of a worker works with."""

    queue: Queue
    launcher: Launcher
    files: Files
    objects: ObjectStore
    publisher: Publisher
    settings: Settings
    short_of_memory: Callable[[], bool]


class JobRun:
    """One claim.

    Args:
        bench: what it works with.
        claim: of the job.
        leaving: set when the worker is to end.
    """

    def __init__(self, bench: Bench, claim: Claim, leaving: threading.Event) -> None:
        self._bench = bench
        self._claim = claim
        self._leaving = leaving
        self._folder = bench.settings.job_workspaces / claim.job.id / str(claim.token)
        self._output = self._folder / "output"
        self._stored = StoredRun(bench.objects, claim, self._output)
        self._report = TrainerReport()
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._lease_seconds = bench.queue.limits.lease_seconds
        self._held_at = time.monotonic()
        self._beat_at = self._held_at
        self._why: Why | None = None

    def run(self) -> None:
        """Returns when the job has ended, waits again, or is another's; raises nothing that the worker could mend."""
        trainer: Running | None = None
        try:
            trainer = self._start()
            self._follow(trainer)
            self._settle(trainer)
        except StaleClaimError as error:
            _log.info("%s", error)
        except (UnknownFileError, LaunchError, AdapterError) as error:
            self._fail(JobError(code="training_failed", message=str(error)))
        except StorageFullError as error:
            self._fail(JobError(code="disk_full", message=str(error)))
        except StorageError as error:
            # Its lease runs out by itself, and another attempt begins at the newest checkpoint.
            _log.warning("job %s is left to its lease: %s", self._claim.job.id, error)
        finally:
            if trainer is not None:
                trainer.kill()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> Running:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        settings, claim = self._bench.settings, self._claim
        self._stored.fetch(claim.checkpoint)
        files = bring_files(claim.job, self._bench.files)
        self._report.names = {
            **{str(path): file_id for file_id, path in files.items()},
            str(self._folder): claim.job.id,
        }
        spec = write_spec(claim.job, files, settings, self._output)
        launch = Launch(
            name=f"{claim.job.id}-{claim.token}",
            command=(sys.executable, "-m", "service.cli", "train", "--spec", str(spec), "--json", "--resume"),
            resources=Resources(cpu_threads=settings.job_threads, niceness=settings.job_niceness),
            # Dead before the lease is over, even if the last renewal was slow to arrive.
            lease_seconds=0.8 * self._lease_seconds,
        )
        trainer = self._bench.launcher.start(launch)
        threading.Thread(target=self._listen, args=(trainer,), name=f"{launch.name}-output", daemon=True).start()
        return trainer

    def _listen(self, trainer: Running) -> None:
        for line in trainer.lines():
            self._lines.put(line)
        self._lines.put(None)

    def _follow(self, trainer: Running) -> None:
        """Until the trainer's output has ended and all of it is written down."""
        open_ = True
        while open_ or self._report.events or self._report.checkpoints:
            open_ = self._take_lines() and open_
            self._beat(trainer)
            self._pass_on()

    def _take_lines(self) -> bool:
        """Hears what was said in the next moment; False at the end."""
        try:
            line = self._lines.get(timeout=_LOOK_SECONDS)
            while line is not None:
                self._report.hear(line)
                line = self._lines.get_nowait()
        except Empty:
            return True
        return False

    def _beat(self, trainer: Running) -> None:
        """Holds the job, and sees what its owner and this machine want.

        Raises:
            StaleClaimError: it is lost, or cannot be held in time.
        """
        now = time.monotonic()
        if now >= self._beat_at:
            try:
                wanted = self._bench.queue.heartbeat(self._claim)
            except StorageError as error:
                _log.warning("job %s: the database is away: %s", self._claim.job.id, error)
                self._beat_at = now + _RETRY_SECONDS
            else:
                trainer.renew()
                self._held_at, self._beat_at = now, now + self._lease_seconds / _HEARTBEATS
                if wanted == "pause":
                    self._stop(trainer, "paused")
                elif self._bench.short_of_memory():
                    self._stop(trainer, "memory")
        if self._leaving.is_set():
            self._stop(trainer, "leaving")
        if now - self._held_at > self._lease_seconds:
            raise StaleClaimError(self._claim.job.id, self._claim.token)

    def _stop(self, trainer: Running, why: Why) -> None:
        if self._why is None:
            self._why = why
            trainer.interrupt()

    def _pass_on(self) -> None:
        """Writes down what was heard; while database or store are away it is kept for the next time."""
        report = self._report
        if not (report.events or report.checkpoints):
            return
        try:
            answering = [step for step in report.checkpoints if self._publish_checkpoint(step)]
            state_key = self._stored.store(max(report.checkpoints)) if report.checkpoints else None
            self._bench.queue.record(
                self._claim,
                Progress(
                    events=tuple(report.events),
                    training=report.training,
                    step=report.step,
                    total_steps=report.total_steps,
                    eta_seconds=report.eta_seconds,
                    checkpoints=[NewCheckpoint(step=step, metrics=report.checkpoints[step]) for step in answering],
                    state_key=state_key,
                ),
            )
        except StorageFullError:
            raise
        except StorageError as error:
            _log.warning("job %s: its news wait: %s", self._claim.job.id, error)
            time.sleep(_RETRY_SECONDS)
            return
        report.events, report.checkpoints = [], {}
        if state_key is not None:
            self._stored.drop_unused(state_key)

    def _publish_checkpoint(self, step: int) -> bool:
        """Whether requests can name it."""
        # A start other than LoRA's own takes something out of the base, and only the finished adapter puts it back.
        if self._claim.job.request.config().init != "default":
            return False
        with TemporaryDirectory(dir=self._folder) as scratch:
            held = Path(scratch) / "adapter"
            try:
                # Linked, because the trainer drops old checkpoints at any moment.
                shutil.copytree(self._output / "checkpoints" / f"step-{step}", held, copy_function=os.link)
                return self._bench.publisher.publish_checkpoint(self._claim.job, held, step)
            except (FileNotFoundError, shutil.Error):
                return False
            except AdapterError as error:
                message = f"The checkpoint of step {step} cannot be asked: {error}"
                self._report.events.append(NewEvent(level="warn", message=message))
                return False

    def _settle(self, trainer: Running) -> None:
        """What the trainer's end means for the job."""
        while (status := trainer.status()) is None:
            time.sleep(_LOOK_SECONDS)
        report, queue = self._report, self._bench.queue
        if status == 0 and report.result is not None:
            self._succeed(report)
        elif status == _STOPPED and self._why == "paused":
            self._insist(lambda: queue.paused(self._claim))
        elif status == _STOPPED:
            why = _REASONS[self._why or "leaving"]
            delay = self._bench.settings.job_retry_seconds if self._why == "memory" else 0
            self._insist(lambda: queue.put_back(self._claim, why, delay))
        elif report.error is not None:
            self._fail(report.error)
        elif status > _KILLED:
            message = f"The trainer was ended by signal {status - _KILLED}; the job waits for another attempt"
            self._insist(lambda: queue.put_back(self._claim, message))
        else:
            words = trainer.last_words().splitlines()[-5:]
            message = "\n".join([f"the trainer ended with status {status}", *words])
            self._fail(JobError(code="training_failed", message=message))

    def _succeed(self, report: TrainerReport) -> None:
        assert report.result is not None
        result = report.result
        metrics = {
            name: float(result[name])
            for name in ("seconds", "tokens_per_second", "train_loss", "valid_loss", "base_valid_loss")
            if isinstance(result.get(name), int | float)
        }
        job, queue = self._claim.job, self._bench.queue
        # A claim that is over must not publish; should it end just now, the next attempt finds this version.
        self._insist(lambda: queue.heartbeat(self._claim))
        self._held_at = time.monotonic()
        model = self._insist(lambda: self._bench.publisher.publish(job, self._output, metrics))
        self._insist(lambda: queue.succeed(self._claim, model, int(result["trained_tokens"])))
        self._clean_up()

    def _fail(self, error: JobError) -> None:
        try:
            self._insist(lambda: self._bench.queue.fail(self._claim, error))
            self._clean_up()
        except StaleClaimError as stale:
            _log.info("%s", stale)
        except StorageError as away:
            _log.warning("job %s is left to its lease: %s", self._claim.job.id, away)

    def _clean_up(self) -> None:
        try:
            self._stored.drop_all()
        except StorageError as error:
            _log.warning("job %s: its checkpoints were not removed: %s", self._claim.job.id, error)

    def _insist(self, work: Callable[[], Result]) -> Result:
        """Does what must be done before the lease is over, while database and store may come back.

        Raises:
            StaleClaimError: there was not time enough, or the claim is over.
        """
        while True:
            try:
                return work()
            except StorageFullError:
                raise
            except StorageError as error:
                if time.monotonic() - self._held_at > self._lease_seconds:
                    raise StaleClaimError(self._claim.job.id, self._claim.token) from error
                _log.warning("job %s: another attempt follows: %s", self._claim.job.id, error)
                time.sleep(_RETRY_SECONDS)
