"""A home with files, jobs and workers, for tests that run the real trainer on a tiny random base."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.files.files import Files
from service.files.opening import open_files
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.jobs.launcher import Launcher
from service.jobs.opening import open_jobs, open_worker
from service.jobs.request import JobRequest
from service.registry.opening import open_registry
from service.settings import Settings

ROWS = [{"prompt": f"What is {number}?", "completion": f"It is {number * 2}."} for number in range(24)]


class Workplace:
    """A home with files, jobs and workers."""

    def __init__(self, home: Path, base: Path, **fields: Any) -> None:
        self.settings = Settings(
            home=home, base_model=str(base), lease_seconds=fields.pop("lease_seconds", 10), job_niceness=0, **fields
        )
        self.registry = open_registry(self.settings)
        self.jobs: Jobs = open_jobs(self.settings, self.registry.database)
        self.files: Files = open_files(self.settings, self.registry.database, self.jobs.uses)

    def upload(self, rows: list[dict[str, Any]] = ROWS) -> str:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return self.files.create("default", "rows.jsonl", "fine-tune", [data]).id

    def make(self, *, rows: list[dict[str, Any]] = ROWS, steps: int = 6, **fields: Any) -> Job:
        lora = {"rank": 4, "max_steps": steps, "save_every": 2, "epochs": 100, "batch_size": 4, "learning_rate": 1e-3}
        body = {"model": "base", "training_file": self.upload(rows), "lora": {**lora, **fields.pop("lora", {})}}
        return self.jobs.create("default", JobRequest.model_validate({**body, **fields}))

    def get(self, job: Job) -> Job:
        return self.jobs.get("default", job.id)

    def work(self, launcher: Launcher | None = None) -> None:
        open_worker(self.settings, self.registry, slots=1, launcher=launcher).run(until_idle=True)

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """A worker in a process of its own."""
        environment = {
            **os.environ, "LORAD_HOME": str(self.settings.home), "LORAD_BASE_MODEL": self.settings.base_model,
            "LORAD_LEASE_SECONDS": str(self.settings.lease_seconds), "LORAD_JOB_NICENESS": "0",
        }  # fmt: skip
        return subprocess.Popen([sys.executable, *(command or ("-m", "service.cli", "worker"))], env=environment)

    def wait(self, job: Job, until: Callable[[Job], bool], seconds: float = 240) -> Job:
        deadline = time.monotonic() + seconds
        while not until(found := self.get(job)):
            assert time.monotonic() < deadline, (found, self.messages(job))
            time.sleep(0.05)
        return found

    def messages(self, job: Job) -> list[str]:
        return [event.message for event in self.jobs.events_since("default", job.id, 0)]
