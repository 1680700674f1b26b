"""A home in which jobs run, and a look at everything that must hold in it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from adapters.digest import adapter_digest
from adapters.errors import AdapterError
from benchmarks.fault_runs.counts import Counts
from service.files.opening import open_files
from service.jobs.job import Job
from service.jobs.opening import open_jobs
from service.jobs.request import JobRequest
from service.registry.opening import open_registry
from service.settings import Settings
from storage.errors import StorageUnavailableError

TENANT: Final = "default"
LEASE_SECONDS: Final = 3
_STEPS = 20
_ROWS = [{"prompt": f"What is {number}?", "completion": f"It is {number * 2}."} for number in range(24)]
_DYING = Path(__file__).with_name("dying.py")


class Place:
    """A home with jobs, and a look at everything that must hold in it."""

    def __init__(self, home: Path, base: Path, **addresses: Any) -> None:
        chosen: dict[str, Any] = {
            "home": home, "base_model": str(base), "lease_seconds": LEASE_SECONDS, "job_niceness": 0,
            "job_retry_seconds": 1, **addresses,
        }  # fmt: skip
        # Workers read the same settings from their environment.
        self._environment = {f"LORAD_{name.upper()}": str(value) for name, value in chosen.items()}
        self.settings = Settings.model_validate(chosen)
        self.registry = open_registry(self.settings)
        self.jobs = open_jobs(self.settings, self.registry.database)
        self.files = open_files(self.settings, self.registry.database, self.jobs.uses)
        rows = "".join(json.dumps(row) + "\n" for row in _ROWS).encode()
        self._file = self.files.create(TENANT, "rows.jsonl", "fine-tune", [rows]).id
        self._made: list[Job] = []
        self.away = threading.Event()
        """Set while the database is down: it cannot be asked then, but files can be read."""
        whole, worker = self.make(), self.start()
        self.whole: bytes | None = None
        self.watch(whole, Counts(), lambda _: True)
        self.whole = self.adapter(whole)
        started = time.monotonic()
        self.watch(self.make(), Counts(), lambda _: True)
        self.span_seconds = time.monotonic() - started
        """A job's, of a worker that is warm."""
        end(worker)

    def make(self) -> Job:
        """A job like all others."""
        lora = {"rank": 4, "max_steps": _STEPS, "save_every": 2, "epochs": 50, "batch_size": 4, "learning_rate": 1e-3}
        body = {"model": "base", "training_file": self._file, "suffix": f"job-{len(self._made)}", "lora": lora}
        self._made.append(self.jobs.create(TENANT, JobRequest.model_validate(body)))
        return self._made[-1]

    def start(self, *within: str, worker_dies_at: int = 0, trainer_dies_at: int = 0) -> psutil.Popen:
        """A worker in a process of its own, that dies at a call or lets its first trainer die at one.

        Args:
            within: a command that starts it, if not this process.
            worker_dies_at: 1 is the first call; 0: never.
            trainer_dies_at: likewise.
        """
        command = [*within, sys.executable, "-P", str(_DYING), "worker", str(worker_dies_at), str(trainer_dies_at)]
        return psutil.Popen(command, env=os.environ | self._environment, stderr=subprocess.DEVNULL)

    def adapter(self, job: Job) -> bytes:
        """The published weights."""
        return self._weights(self.registry.resolve(TENANT, job.name).digest)

    def _weights(self, digest: str) -> bytes:
        folder = self.registry.folders.path(digest.removeprefix("sha256:"))
        return (folder / "adapter_model.safetensors").read_bytes()

    def watch(self, job: Job, counts: Counts, fault: Callable[[Job], bool], *, seconds: float = 300) -> Job:
        """Follows a job to its end, and lets `fault` happen at some moment of it."""
        seen: list[int] = []
        deadline, due = time.monotonic() + seconds, True
        found = job
        while not found.ended and time.monotonic() < deadline:
            counts.doubled += len({process.pid for process in trainers(job)}) > 1
            if due and fault(found):
                due = False
            time.sleep(0.05)
            try:
                found = self.jobs.get(TENANT, job.id)
                events = [event.number for event in self.jobs.events_since(TENANT, job.id, 0)]
            except StorageUnavailableError:
                continue
            counts.lost += events[: len(seen)] != seen
            seen = events
        self._judge(found, counts)
        return found

    @contextmanager
    def reading(self, counts: Counts) -> Iterator[None]:
        """Within it, another thread resolves and reads the first job's adapter; at the end, all jobs are judged."""
        done, job = threading.Event(), self._made[0]
        digest = self.registry.resolve(TENANT, job.name).digest

        def read() -> None:
            while not done.wait(0.05):
                try:
                    if not self.away.is_set():
                        counts.misread += self.registry.resolve(TENANT, job.name).digest != digest
                except StorageUnavailableError:
                    # The database went while it was asked.
                    counts.misread += not self.away.is_set()
                counts.misread += self._weights(digest) != self.whole

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()
        counts.partial += sum("are missing" in wrong for wrong in self.registry.check_integrity())
        for made in self._made:
            counts.lost += self.jobs.get(TENANT, made.id).id != made.id
            for checkpoint in self.jobs.checkpoints(TENANT, made.id, limit=100).data:
                try:
                    self.registry.resolve(TENANT, f"{made.name}:ckpt-step-{checkpoint.step}")
                except AdapterError:
                    counts.lost += 1

    def _judge(self, job: Job, counts: Counts) -> None:
        if job.status != "succeeded" and not (job.error is not None and job.error.code == "disk_full"):
            counts.unfinished += 1
            said = [event.message for event in self.jobs.events_since(TENANT, job.id, 0)]
            print(f"{job.id} is {job.status}: {job.error}", *said[-8:], sep="\n", file=sys.stderr, flush=True)
        versions = self.registry.versions(TENANT, job.name) if job.status == "succeeded" else []
        counts.partial += job.status == "succeeded" and not versions
        counts.doubled += len(versions) > 1
        for version in versions:
            folder = self.registry.folders.path(version.digest.removeprefix("sha256:"))
            counts.partial += adapter_digest(folder) != version.digest
        counts.unlike += bool(versions) and self.whole is not None and self.adapter(job) != self.whole


def trainers(job: Job) -> list[psutil.Process]:
    """The processes that train for a job, without the leashes that hold them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        mine = any(job.id in part for part in command) and "train" in command and "service.jobs.leash" not in command
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def end(worker: psutil.Popen) -> None:
    """Lets a worker leave."""
    worker.terminate()
    worker.wait()
