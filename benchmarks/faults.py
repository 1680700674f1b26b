"""Jobs under faults: `python -P benchmarks/faults.py --base FOLDER [--kills 200]`.

A worker process and its trainers run real jobs on a tiny random model that takes the tokenizer of `--base`. Rows of
the table: worker, trainer, or the trainer's whole process group, in turn, is killed at a random moment; worker, then
trainer, dies at its first, second, … fsync, rename or link; the worker is stopped past its lease and wakes beside
another; the workspaces are a tmpfs too small for a whole run; PostgreSQL crashes, or S3 is cut off, for 5 s at a
random moment. After each fault a worker goes on, and what may not happen is counted. All jobs are alike, so their
adapters must equal an uninterrupted run's. All the while a thread reads a published adapter.
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

# Beside the tests' servers, which are no package that is installed.
sys.path.append(str(Path(__file__).parents[1]))

from adapters.digest import adapter_digest
from adapters.errors import AdapterError
from service.files.opening import open_files
from service.jobs.job import Job
from service.jobs.launcher import Launch, Launcher, Running
from service.jobs.opening import local_launcher, open_jobs, open_worker
from service.jobs.request import JobRequest
from service.registry import open_registry
from service.settings import Settings
from storage.errors import StorageUnavailableError
from tests.servers.postgresql import cluster
from tests.servers.s3 import S3Server

_TENANT = "default"
_LEASE_SECONDS = 3
_STEPS = 20
_AWAY_SECONDS = 5
_CALLS = ("fsync", "rename", "replace", "link")
_ROWS = [{"prompt": f"What is {number}?", "completion": f"It is {number * 2}."} for number in range(24)]


@dataclass
class Counts:
    """What was seen of one kind of fault; all but `faults` must stay 0."""

    faults: int = 0
    lost: int = 0
    """Jobs, events or checkpoints that had been acknowledged and were gone later."""
    partial: int = 0
    """Versions whose files are not what their digest says."""
    doubled: int = 0
    """Times at which two trainers ran for one job, or jobs with two versions."""
    unlike: int = 0
    """Adapters that differ from the uninterrupted run's."""
    unfinished: int = 0
    """Jobs that ended otherwise than they must."""
    misread: int = 0
    """Times at which the published adapter could not be read or was another."""


class Place:
    """A home with jobs, and a look at everything that must hold in it."""

    def __init__(self, home: Path, base: Path, **addresses: Any) -> None:
        self.settings = Settings(
            home=home, base_model=str(base), lease_seconds=_LEASE_SECONDS, job_niceness=0, **addresses
        )  # fmt: skip
        self._addresses = addresses
        self.registry = open_registry(self.settings)
        self.jobs = open_jobs(self.settings, self.registry.database)
        self.files = open_files(self.settings, self.registry.database, self.jobs.uses)
        rows = "".join(json.dumps(row) + "\n" for row in _ROWS).encode()
        self._file = self.files.create(_TENANT, "rows.jsonl", "fine-tune", [rows]).id
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
        self._made.append(self.jobs.create(_TENANT, JobRequest.model_validate(body)))
        return self._made[-1]

    def start(self, *within: str, worker_dies_at: int = 0, trainer_dies_at: int = 0) -> psutil.Popen:
        """A worker in a process of its own, that dies at a call or lets its first trainer die at one.

        Args:
            within: a command that starts it, if not this process.
            worker_dies_at: 1 is the first call; 0: never.
            trainer_dies_at: likewise.
        """
        environment = {
            **os.environ, "LORAD_HOME": str(self.settings.home), "LORAD_BASE_MODEL": self.settings.base_model,
            "LORAD_LEASE_SECONDS": str(_LEASE_SECONDS), "LORAD_JOB_NICENESS": "0", "LORAD_JOB_RETRY_SECONDS": "1",
            **{f"LORAD_{name.upper()}": value for name, value in self._addresses.items()},
        }  # fmt: skip
        command = [*within, sys.executable, "-P", __file__, "--as-worker", str(worker_dies_at), str(trainer_dies_at)]
        return psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def adapter(self, job: Job) -> bytes:
        """The published weights."""
        return self._weights(self.registry.resolve(_TENANT, job.name).digest)

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
                found = self.jobs.get(_TENANT, job.id)
                events = [event.number for event in self.jobs.events_since(_TENANT, job.id, 0)]
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
        digest = self.registry.resolve(_TENANT, job.name).digest

        def read() -> None:
            while not done.wait(0.05):
                try:
                    if not self.away.is_set():
                        counts.misread += self.registry.resolve(_TENANT, job.name).digest != digest
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
            counts.lost += self.jobs.get(_TENANT, made.id).id != made.id
            for checkpoint in self.jobs.checkpoints(_TENANT, made.id, limit=100).data:
                try:
                    self.registry.resolve(_TENANT, f"{made.name}:ckpt-step-{checkpoint.step}")
                except AdapterError:
                    counts.lost += 1

    def _judge(self, job: Job, counts: Counts) -> None:
        if job.status != "succeeded" and not (job.error is not None and job.error.code == "disk_full"):
            counts.unfinished += 1
            said = [event.message for event in self.jobs.events_since(_TENANT, job.id, 0)]
            print(f"{job.id} is {job.status}: {job.error}", *said[-8:], sep="\n", file=sys.stderr, flush=True)
        versions = self.registry.versions(_TENANT, job.name) if job.status == "succeeded" else []
        counts.partial += job.status == "succeeded" and not versions
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


def random_kills(place: Place, counts: Counts, num_kills: int) -> None:
    """One job after another, each of which loses its worker or its trainer once at any moment of its life."""
    worker = place.start()
    while counts.faults < num_kills:
        # Some jobs end before their moment comes, and are made for nothing.
        job, at = place.make(), time.monotonic() + random.uniform(0, place.span_seconds)
        victim = ("worker", "trainer", "group")[counts.faults % 3]

        def strike(job: Job, at: float = at, victim: str = victim) -> bool:
            nonlocal worker
            if time.monotonic() < at:
                return False
            victims = [worker] if victim == "worker" else trainers(job)
            for process in victims:
                if victim == "group":
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
                else:
                    process.kill()
            counts.faults += bool(victims)
            if victim == "worker":
                worker.wait()
                worker = place.start()
            return bool(victims)

        place.watch(job, counts, strike)
    end(worker)


def durable_kills(place: Place, counts: Counts, most: int) -> None:
    """Worker and trainer die at their first, second, … call, until they have no such call left."""
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


def sleeps(place: Place, counts: Counts, num_sleeps: int) -> None:
    """A worker is stopped for longer than its lease, another takes over, the first wakes."""
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
            end(process)


def full_disks(place: Place, counts: Counts, num_disks: int) -> None:
    """The workspaces are on a disk too small for the run, somewhere; the job fails, and the next one does not."""
    workspaces = place.settings.job_workspaces
    for _ in range(num_disks):
        mount = f'mount -t tmpfs -o size={random.randint(16, 400)}k tmpfs {workspaces} && exec "$@"'
        worker = place.start("unshare", "-rm", "sh", "-c", mount, "sh")
        ended = place.watch(place.make(), counts, lambda _: True)
        counts.faults += ended.status == "failed"
        end(worker)
    worker = place.start()
    counts.unfinished += place.watch(place.make(), counts, lambda _: True).status != "succeeded"
    end(worker)


def outages(place: Place, counts: Counts, num_outages: int, down: Callable[[], None], up: Callable[[], None]) -> None:
    """Database or store goes away for some seconds, at any moment of a job's life."""
    worker = place.start()
    while counts.faults < num_outages:
        at = time.monotonic() + random.uniform(0, place.span_seconds)

        def strike(_job: Job, at: float = at) -> bool:
            if time.monotonic() < at:
                return False
            down()
            time.sleep(_AWAY_SECONDS)
            up()
            counts.faults += 1
            return True

        place.watch(place.make(), counts, strike)
    end(worker)


def end(worker: psutil.Popen) -> None:
    """Lets a worker leave."""
    worker.terminate()
    worker.wait()


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
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--databases", type=int, default=10, help="times at which PostgreSQL crashes")
    parser.add_argument("--stores", type=int, default=10, help="times at which S3 is cut off")
    options = parser.parse_args()
    print("| fault | times | lost | partial versions | run twice | unlike the whole run | unfinished | misread | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    failed = False

    def row(name: str, num: int, place: Place, fault: Callable[[Place, Counts, int], None]) -> None:
        nonlocal failed
        if not num:
            return
        started, counts = time.monotonic(), Counts()
        with place.reading(counts):
            fault(place, counts, num)
        wrong = (
            counts.lost, counts.partial, counts.doubled, counts.unlike, counts.unfinished, counts.misread
        )  # fmt: skip
        failed |= any(wrong)
        shown = " | ".join(map(str, wrong))
        print(f"| {name} | {counts.faults} | {shown} | {time.monotonic() - started:.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = tiny_base(options.base, folder / "tiny")
        place = Place(folder / "home", base)
        row("killed at random", options.kills, place, random_kills)
        row("killed at a durable call", options.durable, place, durable_kills)
        row("stopped past the lease", options.sleeps, place, sleeps)
        row("disk full", options.disks, place, full_disks)
        place.registry.database.dispose()
        if options.databases:
            with cluster() as server:
                far = Place(folder / "database", base, database_url=server.make_database())

                def crash() -> None:
                    far.away.set()
                    server.stop()

                def recover() -> None:
                    server.start()
                    far.away.clear()

                row(
                    "database down for 5 s", options.databases, far,
                    lambda place, counts, num: outages(place, counts, num, crash, recover),
                )  # fmt: skip
                far.registry.database.dispose()
        if options.stores:
            store = S3Server()
            os.environ.update(store.environment())
            remote = Place(folder / "store", base, storage_url=f"{store.make_bucket('faults')}/lorad")
            row(
                "S3 down for 5 s", options.stores, remote,
                lambda place, counts, num: outages(place, counts, num, store.proxy.cut, store.proxy.restore),
            )  # fmt: skip
            remote.registry.database.dispose()
            store.close()
    sys.exit(failed)


def as_worker(worker_dies_at: int, trainer_dies_at: int) -> None:
    """What `Place.start` starts."""
    settings = Settings()
    worker = open_worker(
        settings, open_registry(settings), slots=1, launcher=Deadly(local_launcher(settings), trainer_dies_at)
    )
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
