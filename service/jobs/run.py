"""One claim from its workspace to its end: the trainer is started, heard, held and stopped, and its work is kept.

Whatever happens, the database decides: a write that is refused means that the job is somebody else's, and then the
trainer is killed and nothing is touched any more.
"""

import errno
import logging
import math
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory

from adapters.errors import AdapterError
from base.errors import BaseModelError
from service.files.errors import UnknownFileError
from service.jobs.bench import Bench
from service.jobs.ending import Ending, Why
from service.jobs.errors import LaunchError, StaleClaimError
from service.jobs.hold import Hold
from service.jobs.job import JobError, NewEvent
from service.jobs.launcher import Launch, Resources, Running
from service.jobs.queue import Claim, NewCheckpoint, Progress
from service.jobs.reports import TrainerReport
from service.jobs.spec import bring_files, write_spec
from service.jobs.stored_run import StoredRun
from storage.errors import StorageError, StorageFullError, StorageUnavailableError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_END_SECONDS = 30.0
"""Within which a trainer that has said its last word must be gone."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CODES = {UnknownFileError: "file_not_found", BaseModelError: "base_unavailable"}
_RETRY_SECONDS = 1.0
"""Before news that could not be written down are tried again."""


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
        self._report = TrainerReport(
            names={str(bench.settings.home): "LORAD_HOME"}, validation_file=claim.job.request.validation_file
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._hold = Hold(bench.queue, claim)
        self._ending = Ending(bench, self._hold, self._stored, self._report, self._output, leaving)
        self._trainer: Running | None = None
        self._why: Why | None = None
        self._stop_by = math.inf

    def run(self) -> None:
        """Returns when the job has ended, waits again, or is another's. Raises nothing."""
        with self._hold:
            try:
                self._work()
            except StaleClaimError as error:
                self._hold.let_go()
                _log.info("%s", error)
                self._ending.drop_ended()
            except (UnknownFileError, BaseModelError, LaunchError, AdapterError) as error:
                code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "training_failed")
                self._ending.fail(JobError(code=code, message=str(error)))
            except StorageFullError as error:
                self._ending.fail_full(error)
            except StorageError as error:
                self._ending.give_back("What the job needs could not be read or written", error)
            except OSError as error:
                if error.errno in _FULL:
                    self._ending.fail_full(error)
                else:
                    self._ending.give_back("The worker had an unexpected error", error)
            # A fault of this code must neither end the worker nor leave the job to its lease.
            except Exception as error:  # noqa: BLE001 - logged with its trace
                _log.exception("job %s", self._claim.job.id)
                self._ending.give_back("The worker had an unexpected error", error)

    def _work(self) -> None:
        try:
            self._start()
            self._follow()
            status = self._ended()
        finally:
            # Before anything is said of the job: somebody else may have it the moment after.
            if self._trainer is not None:
                self._hold.keep(None)
                self._trainer.kill()
        try:
            assert self._trainer is not None
            self._ending.settle(self._trainer, status, self._why)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self._folder.mkdir(parents=True)
        # Earlier claims' workers were killed; a later claim's folder stays, should this worker have slept.
        for left in self._folder.parent.iterdir():
            if int(left.name) < self._claim.token:
                shutil.rmtree(left, ignore_errors=True)
        settings, claim = self._bench.settings, self._claim
        self._stored.fetch(claim.checkpoint)
        files = bring_files(claim.job, self._bench.files)
        paths = {str(path): file_id for file_id, path in files.items()}
        self._report.names = {**paths, str(self._folder): claim.job.id, **self._report.names}
        spec = write_spec(claim.job, files, settings, self._output)
        launch = Launch(
            name=f"{claim.job.id}-{claim.token}",
            command=(sys.executable, "-m", "service.cli", "train", "--spec", str(spec), "--json", "--resume"),
            resources=Resources(cpu_threads=settings.job_threads, niceness=settings.job_niceness),
            lease_seconds=self._hold.leash_seconds,
        )
        # Bringing files may have taken long, and the trainer's time counts from now.
        self._ending.insist(self._hold.renew)
        # Kept at once: whatever happens next, it is killed in the end.
        self._trainer = trainer = self._bench.launcher.start(launch)
        self._hold.keep(trainer)
        threading.Thread(target=self._listen, args=(trainer,), name=f"{launch.name}-output", daemon=True).start()

    def _listen(self, trainer: Running) -> None:
        try:
            for line in trainer.lines():
                self._lines.put(line)
        finally:
            self._lines.put(None)

    def _follow(self) -> None:
        """Until the trainer's output has ended and all of it is written down."""
        assert self._trainer is not None
        open_ = True
        while open_ or self._report.events or self._report.checkpoints:
            gone = self._trainer.status() is not None
            open_ = self._take_lines() and open_
            if gone and open_:
                # Something that it started outlives it, and holds its output open.
                self._trainer.kill()
            self._hold.check()
            self._heed()
            self._pass_on(last=not open_)

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

    def _heed(self) -> None:
        """Asks the trainer to stop when the owner, this machine or this worker's end wants it."""
        if self._why is not None:
            if self._trainer is not None and time.monotonic() > self._stop_by:
                _log.warning("job %s: its trainer did not stop when asked to, and is killed", self._claim.job.id)
                self._trainer.kill()
            return
        if self._leaving.is_set():
            self._why = "leaving"
        elif self._hold.wanted == "pause":
            self._why = "paused"
        elif self._bench.short_of_memory():
            self._why = "memory"
        if self._why is not None and self._trainer is not None:
            self._stop_by = time.monotonic() + self._bench.settings.trainer_stop_seconds
            self._trainer.interrupt()

    def _pass_on(self, *, last: bool) -> None:
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
        except StorageUnavailableError as error:
            if last and self._leaving.is_set():
                raise
            _log.warning("job %s: its news wait: %s", self._claim.job.id, error)
            time.sleep(_RETRY_SECONDS)
            return
        report.events, report.checkpoints = [], {}
        if state_key is not None:
            self._ending.tidy(lambda: self._stored.drop_unused(state_key))

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
                return self._bench.publisher.publish_checkpoint(
                    self._claim.job, held, step, self._bench.queue.guard(self._claim)
                )
            except (FileNotFoundError, shutil.Error):
                return False
            except AdapterError as error:
                message = f"The checkpoint of step {step} cannot be asked: {error}"
                self._report.events.append(NewEvent(level="warn", message=message))
                return False

    def _ended(self) -> int:
        """The trainer's exit status, now that its output has ended."""
        assert self._trainer is not None
        deadline = time.monotonic() + _END_SECONDS
        while (status := self._trainer.status()) is None:
            self._hold.check()
            if time.monotonic() > deadline:
                self._trainer.kill()
            time.sleep(_LOOK_SECONDS)
        return status
