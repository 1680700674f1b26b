"""Jobs under faults: kills while something is made durable, stores and databases that go away, a full disk."""

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from adapters.digest import adapter_digest
from service.jobs import run as run_module
from service.jobs.job import Job
from service.jobs.launcher import Launch, Launcher, Running
from service.jobs.opening import local_launcher
from storage.errors import StorageFullError
from storage.objects.local import LocalObjects
from tests.servers.postgresql import Cluster
from tests.servers.s3 import S3Server
from tests.service.jobs.workplace import Workplace

DYING = str(Path(__file__).with_name("dying.py"))


class Deadly:
    """The first trainer kills itself at its N-th fsync, rename or link; later ones live."""

    def __init__(self, launcher: Launcher, number: int) -> None:
        self._launcher = launcher
        self._number: int | None = number
        self.launches = 0

    def start(self, launch: Launch) -> Running:
        self.launches += 1
        if self._number is not None:
            interpreter, _, _, *rest = launch.command
            launch = replace(launch, command=(interpreter, DYING, str(self._number), *rest))
            self._number = None
        return self._launcher.start(launch)


def whole_versions(place: Workplace, name: str) -> list[int | None]:
    """Numbers of the versions, each of which holds what its digest says."""
    versions = place.registry.versions("default", name)
    for version in versions:
        folder = place.registry.folders.path(version.digest.removeprefix("sha256:"))
        assert adapter_digest(folder) == version.digest
    return [version.number for version in versions]


@pytest.mark.parametrize("number", [2, 9])
def test_a_trainer_that_dies_while_it_makes_something_durable(place: Workplace, number: int) -> None:
    job = place.make(suffix="support")
    launcher = Deadly(local_launcher(place.settings), number)
    place.work(launcher)
    assert launcher.launches == 2, place.messages(job)
    assert place.get(job).status == "succeeded"
    assert whole_versions(place, "support") == [1]


@pytest.mark.parametrize("number", [1, 5])
def test_a_worker_that_dies_while_it_makes_something_durable(
    make_workplace: Callable[..., Workplace], number: int
) -> None:
    place = make_workplace(lease_seconds=2)
    job = place.make(suffix="support")
    dying = place.start(DYING, str(number), "worker", "--until-idle")
    assert dying.wait(240) == -9
    assert not place.get(job).ended
    before = place.messages(job)
    follower = place.start()
    try:
        done = place.wait(job, lambda found: found.ended)
    finally:
        follower.terminate()
        follower.wait()
    assert done.status == "succeeded"
    assert whole_versions(place, "support") == [1]
    # What was acknowledged is still there.
    assert place.messages(job)[: len(before)] == before


def test_a_database_that_goes_away_does_not_end_the_trainer(
    breakable_postgresql: Cluster, make_workplace: Callable[..., Workplace], postgresql_url: str
) -> None:
    place = make_workplace(database_url=postgresql_url, lease_seconds=60)
    job = place.make(suffix="support", steps=300, lora={"save_every": 20})
    launcher = Deadly(local_launcher(place.settings), 1_000_000)
    worker = _working(place, job, launcher)
    breakable_postgresql.stop()
    try:
        # Until the worker has noticed, and then some.
        worker.join(5)
    finally:
        breakable_postgresql.start()
    worker.join(240)
    assert place.get(job).status == "succeeded"
    assert launcher.launches == 1
    assert whole_versions(place, "support") == [1]
    steps = [e.data["step"] for e in place.jobs.events_since("default", job.id, 0) if e.data and "grad_norm" in e.data]
    assert steps == list(range(1, 301))


# Connections that break under way are left by the S3 client to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_store_that_goes_away_does_not_end_the_trainer(
    make_workplace: Callable[..., Workplace], s3: S3Server, s3_url: str
) -> None:
    place = make_workplace(storage_url=s3_url, lease_seconds=60)
    job = place.make(suffix="support", steps=300, lora={"save_every": 20})
    launcher = Deadly(local_launcher(place.settings), 1_000_000)
    worker = _working(place, job, launcher)
    s3.proxy.cut()
    try:
        worker.join(5)
    finally:
        s3.proxy.restore()
    worker.join(240)
    assert place.get(job).status == "succeeded"
    assert launcher.launches == 1
    assert [version.number for version in place.registry.versions("default", "support")] == [1]


def test_a_full_disk_fails_the_job_and_leaves_what_was_published(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.make(suffix="support")
    place.work()
    job = place.make(suffix="support")

    def full(_objects: LocalObjects, key: str) -> BinaryIO:
        raise StorageFullError(key, "No space left on device")

    monkeypatch.setattr(LocalObjects, "write", full)
    place.work()
    failed = place.get(job)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "disk_full")
    assert place.get(first).fine_tuned_model == "support:1"
    assert whole_versions(place, "support") == [1]


def test_a_worker_without_disk_fails_the_job(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = place.make()

    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_module, "write_spec", full)
    place.work()
    failed = place.get(job)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "disk_full")


def _working(place: Workplace, job: Job, launcher: Launcher) -> threading.Thread:
    """A worker on a thread, its job at the second step."""
    worker = threading.Thread(target=place.work, args=(launcher,), daemon=True)
    worker.start()
    place.wait(job, lambda found: found.step >= 2)
    return worker
