"""Jobs under `kill -9`: `python -P benchmarks/faults.py --base FOLDER [--kills 200]`.

A worker process and its trainers run real jobs on a tiny random model that takes the tokenizer of `--base`. Rows of
the table: worker or trainer, in turn, is killed at a random moment; worker, then trainer, dies at its first, second, …
fsync, rename or link; the worker is stopped past its lease and wakes beside another. After each fault a worker goes
on, and what may not happen is counted. All jobs are alike, so their adapters must equal an uninterrupted run's.
(`-P` keeps `benchmarks/training.py` from being taken for the package.)
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from adapters.digest import adapter_digest
from service.files.opening import open_files
from service.jobs.job import Job
from service.jobs.launcher import Launch, Launcher, Running
from service.jobs.opening import local_launcher, open_jobs, open_worker
from service.jobs.request import JobRequest
from service.registry import open_registry
from service.settings import Settings

_TENANT = "default"
_LEASE_SECONDS = 3
_STEPS = 12
_CALLS = ("fsync", "rename", "replace", "link")
_ROWS = [{"prompt": f"What is {number}?", "completion": f"It is {number * 2}."} for number in range(24)]


@dataclass
class Counts:
    """What was seen of one kind of fault; all but `faults` must stay 0."""

    faults: int = 0
    lost: int = 0
    """Events or checkpoints that had been read and were gone later."""
    partial: int = 0
    """Versions whose files are not what their digest says."""
    doubled: int = 0
    """Times at which two trainers ran for one job, or jobs with two versions."""
    unlike: int = 0
    """Adapters that differ from the uninterrupted run's."""
    unfinished: int = 0
    """Jobs that did not succeed."""


class Place:
    """A home with jobs, and a look at everything that must hold in it."""

    def __init__(self, home: Path, base: Path) -> None:
        self.settings = Settings(home=home, base_model=str(base), lease_seconds=_LEASE_SECONDS, job_niceness=0)
        self.registry = open_registry(self.settings)
        self.jobs = open_jobs(self.settings, self.registry.database)
        self.files = open_files(self.settings, self.registry.database, self.jobs.uses)
        rows = "".join(json.dumps(row) + "\n" for row in _ROWS).encode()
        self._file = self.files.create(_TENANT, "rows.jsonl", "fine-tune", [rows]).id
        self._made = 0
        self.whole: bytes | None = None

    def make(self) -> Job:
        """A job like all others."""
        self._made += 1
        lora = {"rank": 4, "max_steps": _STEPS, "save_every": 2, "epochs": 50, "batch_size": 4, "learning_rate": 1e-3}
        body = {"model": "base", "training_file": self._file, "suffix": f"job-{self._made}", "lora": lora}
        return self.jobs.create(_TENANT, JobRequest.model_validate(body))

    def start(self, *, worker_dies_at: int = 0, trainer_dies_at: int = 0) -> psutil.Popen:
        """A worker in a process of its own, that dies at a call or lets its first trainer die at one."""
        environment = {
            **os.environ, "LORAD_HOME": str(self.settings.home), "LORAD_BASE_MODEL": self.settings.base_model,
            "LORAD_LEASE_SECONDS": str(_LEASE_SECONDS), "LORAD_JOB_NICENESS": "0",
        }  # fmt: skip
        command = [sys.executable, "-P", __file__, "--as-worker", str(worker_dies_at), str(trainer_dies_at)]
        return psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def adapter(self, job: Job) -> bytes:
        """The published weights."""
        version = self.registry.resolve(_TENANT, job.name)
        folder = self.registry.folders.path(version.digest.removeprefix("sha256:"))
        return (folder / "adapter_model.safetensors").read_bytes()

    def watch(self, job: Job, counts: Counts, fault: Callable[[Job], bool], *, seconds: float = 300) -> Job:
        """Follows a job to its end, and lets `fault` happen at some moment of it."""
        seen: list[int] = []
        deadline, due = time.monotonic() + seconds, True
        while not (found := self.jobs.get(_TENANT, job.id)).ended and time.monotonic() < deadline:
            events = [event.number for event in self.jobs.events_since(_TENANT, job.id, 0)]
            counts.lost += events[: len(seen)] != seen
            seen = events
            counts.doubled += len({process.pid for process in trainers(job)}) > 1
            if due and fault(found):
                due = False
            time.sleep(0.05)
        self._judge(found, counts)
        return found

    def _judge(self, job: Job, counts: Counts) -> None:
        counts.unfinished += job.status != "succeeded"
        versions = self.registry.versions(_TENANT, job.name) if job.status == "succeeded" else []
        counts.doubled += len(versions) > 1
        for version in versions:
            folder = self.registry.folders.path(version.digest.removeprefix("sha256:"))
            counts.partial += adapter_digest(folder) != version.digest
        counts.unlike += bool(versions) and self.whole is not None and self.adapter(job) != self.whole


class Deadly:
    """The first trainer dies at a call that makes something durable; later ones live."""

    def __init__(self, launcher: Launcher, number: int) -> None:
        self._launcher = launcher
        self._number = number

    def start(self, launch: Launch) -> Running:
        """See `Launcher`."""
        if self._number:
            command = (sys.executable, "-P", __file__, "--as-trainer", str(self._number), *launch.command[3:])
            launch = replace(launch, command=command)
            self._number = 0
        return self._launcher.start(launch)


def die_at(number: int) -> None:
    """Lets this process do `number` - 1 more of the calls that make writing durable; 0: as many as it likes."""
    left = number

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **keywords: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return counting

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))


def trainers(job: Job) -> list[psutil.Process]:
    """The processes that train for a job, without the leashes that hold them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        mine = any(job.id in part for part in command) and "train" in command and "service.jobs.leash" not in command
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def random_kills(place: Place, num_kills: int, span_seconds: float) -> Counts:
    """One job after another, each of which loses its worker or its trainer once at any moment of its life."""
    counts, worker = Counts(), place.start()
    for number in range(num_kills):
        job, at = place.make(), time.monotonic() + random.uniform(0, span_seconds)
        victim = ("worker", "trainer")[number % 2]

        def strike(job: Job, at: float = at, victim: str = victim) -> bool:
            nonlocal worker
            if time.monotonic() < at:
                return False
            victims = [worker] if victim == "worker" else trainers(job)
            for process in victims:
                process.kill()
            counts.faults += bool(victims)
            if victim == "worker":
                worker.wait()
                worker = place.start()
            return bool(victims)

        place.watch(job, counts, strike)
    worker.terminate()
    worker.wait()
    return counts


def durable_kills(place: Place, most: int) -> Counts:
    """Worker and trainer die at their first, second, … call, until they have no such call left."""
    counts = Counts()
    for which in ("worker_dies_at", "trainer_dies_at"):
        for number in range(1, most + 1):
            job, worker = place.make(), place.start(**{which: number})
            died = False

            def follow(_job: Job) -> bool:
                nonlocal worker, died
                if which == "trainer_dies_at":  # noqa: B023
                    return True
                if worker.poll() is None:
                    return False
                died = True
                worker = place.start()
                return True

            place.watch(job, counts, follow)
            said = [event.message for event in place.jobs.events_since(_TENANT, job.id, 0)]
            died = died or any("by signal 9" in message for message in said)
            counts.faults += died
            worker.terminate()
            worker.wait()
            if not died:
                break
    return counts


def sleeps(place: Place, num_sleeps: int) -> Counts:
    """A worker is stopped for longer than its lease, another takes over, the first wakes."""
    counts = Counts()
    for _ in range(num_sleeps):
        job, sleeper = place.make(), place.start()
        others: list[psutil.Popen] = []

        def stop(job: Job) -> bool:
            if job.step < 2 or not trainers(job):
                return False
            # Between its transactions: SQLite's lock is one for all.
            with place.registry.database.session():
                sleeper.suspend()  # noqa: B023 - used up within the turn
            counts.faults += 1
            time.sleep(_LEASE_SECONDS + 1)
            others.append(place.start())  # noqa: B023
            time.sleep(2)
            sleeper.resume()  # noqa: B023
            return True

        place.watch(job, counts, stop)
        for process in (sleeper, *others):
            process.terminate()
            process.wait()
    return counts


def tiny_base(tokenizer_of: Path, folder: Path) -> Path:
    """A random Llama of two layers."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def main() -> None:
    """Prints one Markdown table; exits 1 where something happened that may not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="whose tokenizer is used")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--durable", type=int, default=200, help="most calls to die at")
    parser.add_argument("--sleeps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "home", tiny_base(options.base, Path(folder) / "tiny"))
        whole, worker, started = place.make(), place.start(), time.monotonic()
        place.watch(whole, Counts(), lambda _: True)
        span = time.monotonic() - started
        place.whole = place.adapter(whole)
        worker.terminate()
        worker.wait()
        faults: dict[str, Callable[[], Counts]] = {
            "killed at random": lambda: random_kills(place, options.kills, span),
            "killed at a durable call": lambda: durable_kills(place, options.durable),
            "stopped past the lease": lambda: sleeps(place, options.sleeps),
        }
        print("| fault | times | lost | partial versions | run twice | unlike the whole run | unfinished | s |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        failed = False
        for name, run in faults.items():
            started = time.monotonic()
            found = run()
            wrong = (found.lost, found.partial, found.doubled, found.unlike, found.unfinished)
            failed |= any(wrong)
            shown = " | ".join(map(str, wrong))
            print(f"| {name} | {found.faults} | {shown} | {time.monotonic() - started:.0f} |", flush=True)
        place.registry.database.dispose()
    sys.exit(failed)


def as_worker(worker_dies_at: int, trainer_dies_at: int) -> None:
    """What `Place.start` starts."""
    settings = Settings()
    worker = open_worker(settings, slots=1, launcher=Deadly(local_launcher(settings), trainer_dies_at))
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.leave())
    die_at(worker_dies_at)
    worker.run()


def as_trainer(number: int) -> None:
    """What `Deadly` starts."""
    from service.cli.main import main as command

    die_at(number)
    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-worker"]:
        as_worker(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--as-trainer"]:
        number = int(sys.argv[2])
        del sys.argv[1:3]
        as_trainer(number)
    else:
        main()
