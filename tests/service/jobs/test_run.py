"""Runs whose trainer is a few lines of Python: what a worker does when trainers, or its own code, go wrong."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from adapters.base_facts import BaseFacts
from adapters.errors import UnknownAdapterError
from service.jobs import run as run_module
from service.jobs.launcher import Launch, Running
from service.jobs.opening import local_launcher, open_bench, open_worker
from service.jobs.publisher import Publisher
from service.jobs.queue import Claim, Queue
from service.jobs.tables import JobRow
from storage.errors import StorageUnavailableError
from storage.objects.local import LocalObjects
from tests.service.jobs.workplace import Workplace

STEP = {
    "event": "step", "step": 1, "total_steps": 2, "loss": 1.0, "learning_rate": 1e-3, "grad_norm": 1.0,
    "tokens_per_second": 1.0, "eta_seconds": 1.0,
}  # fmt: skip
FAILS = "import sys; print('what became of it', file=sys.stderr); sys.exit(3)"


class Scripted:
    """Trainers that run a script instead, one after the other."""

    def __init__(self, place: Workplace, *codes: str) -> None:
        self._launcher = local_launcher(place.settings)
        self._codes = list(codes)
        self.launched: list[Running] = []

    def start(self, launch: Launch) -> Running:
        running = self._launcher.start(replace(launch, command=(sys.executable, "-c", self._codes.pop(0))))
        self.launched.append(running)
        return running


@pytest.fixture
def place(make_workplace: Callable[..., Workplace]) -> Workplace:
    return make_workplace(job_retry_seconds=0)


@pytest.fixture
def no_thread_dies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    died: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    yield
    assert died == []


@pytest.mark.usefixtures("no_thread_dies")
def test_a_fault_of_the_workers_own_code_costs_an_attempt_and_the_trainer_is_dead_by_then(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = place.make()
    sleeps = f"import time; print({json.dumps(json.dumps(STEP))}, flush=True); time.sleep(300)"
    launcher = Scripted(place, sleeps, FAILS)
    take, put_back = run_module.JobRun._take_lines, Queue.put_back
    alive: list[int | None] = []

    def faulty(run: run_module.JobRun) -> bool:
        if len(launcher.launched) == 1:
            raise KeyError("a mistake")
        return take(run)

    def watched(queue: Queue, claim: Claim, *arguments: object, **keywords: object) -> None:
        alive.append(launcher.launched[0].status())
        put_back(queue, claim, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module.JobRun, "_take_lines", faulty)
    monkeypatch.setattr(Queue, "put_back", watched)
    place.work(launcher)
    assert alive == [137]
    assert len(launcher.launched) == 2
    assert any("unexpected error" in message for message in place.messages(job))
    assert not any("a mistake" in message for message in place.messages(job))
    assert place.get(job).status == "failed"


@pytest.mark.usefixtures("no_thread_dies")
def test_a_fault_that_stays_ends_the_job(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = place.make()

    def faulty(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(run_module, "write_spec", faulty)
    worker = threading.Thread(target=place.work)
    worker.start()
    failed = place.wait(job, lambda found: found.ended)
    worker.join()
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "worker_lost")


def test_what_a_trainer_leaves_running_does_not_hold_the_job(place: Workplace) -> None:
    job = place.make()
    code = "import subprocess, sys; subprocess.Popen(['sleep', '300']); sys.exit(3)"
    place.work(Scripted(place, code))
    assert place.get(job).status == "failed"


def test_last_words_show_no_path_of_the_worker(place: Workplace) -> None:
    job = place.make()
    code = f"import sys; print('cannot read {place.settings.home}/x', file=sys.stderr); sys.exit(3)"
    place.work(Scripted(place, code))
    error = place.get(job).error
    assert error is not None
    assert "cannot read LORAD_HOME/x" in error.message
    assert str(place.settings.home) not in error.message


def test_an_event_that_lacks_something_costs_an_attempt(place: Workplace) -> None:
    job = place.make()
    place.work(Scripted(place, """print('{"event": "step"}')""", FAILS))
    assert any("unexpected error" in message for message in place.messages(job))
    assert place.get(job).status == "failed"


def test_a_claim_that_another_succeeded_leaves_its_folder_alone(place: Workplace) -> None:
    place.make()
    bench = open_bench(place.settings, place.registry)
    claim = bench.queue.claim("w")
    assert claim is not None
    later = place.settings.job_workspaces / claim.job.id / str(claim.token + 1)
    earlier = place.settings.job_workspaces / claim.job.id / str(claim.token - 1)
    for folder in (later, earlier):
        folder.mkdir(parents=True)
    run = run_module.JobRun(replace(bench, launcher=Scripted(place, FAILS)), claim, threading.Event())
    run.run()
    assert later.exists()
    assert not earlier.exists()


def test_a_cancelled_job_leaves_no_objects(place: Workplace) -> None:
    job = place.make(steps=5000)
    worker = threading.Thread(target=place.work)
    worker.start()
    place.wait(job, lambda found: bool(place.jobs.checkpoints("default", found.id).data))
    place.jobs.cancel("default", job.id)
    worker.join()
    objects = open_bench(place.settings, place.registry).objects
    assert list(objects.keys(f"jobs/default/{job.id}/")) == []


def test_a_worker_that_leaves_does_not_wait_for_a_store_that_is_away(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = place.make(steps=5000)
    worker = open_worker(place.settings, place.registry, slots=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    place.wait(job, lambda found: found.step >= 1)

    def away(_objects: LocalObjects, key: str) -> None:
        raise StorageUnavailableError(key)

    monkeypatch.setattr(LocalObjects, "write", away)
    worker.leave()
    thread.join(60)
    assert not thread.is_alive()
    assert place.get(job).status == "queued"


@pytest.mark.usefixtures("no_thread_dies")
def test_a_claim_that_fails_ends_no_worker(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = place.make()
    claim, failed = Queue.claim, threading.Event()

    def faulty(queue: Queue, worker: str) -> Claim | None:
        if not failed.is_set():
            failed.set()
            raise ValueError("a row that nobody understands")
        return claim(queue, worker)

    monkeypatch.setattr(Queue, "claim", faulty)
    worker = open_worker(place.settings, place.registry, slots=1, launcher=Scripted(place, FAILS))
    thread = threading.Thread(target=worker.run)
    thread.start()
    place.wait(job, lambda found: found.ended)
    worker.leave()
    thread.join()
    assert place.get(job).status == "failed"


@pytest.mark.parametrize("over", ["cancelled", "claimed by another"])
def test_a_claim_that_is_over_publishes_nothing(place: Workplace, monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    """It ends in the last moment before the registry's transaction, after every look at it."""
    job = place.make(steps=2)
    base = Publisher._base

    def late(publisher: Publisher) -> BaseFacts:
        if place.get(job).status == "running":
            if over == "cancelled":
                place.jobs.cancel("default", job.id)
            else:
                with place.registry.database.session() as session:
                    session.get_one(JobRow, job.id).token += 1
        return base(publisher)

    monkeypatch.setattr(Publisher, "_base", late)
    bench = open_bench(place.settings, place.registry)
    claim = bench.queue.claim("w")
    assert claim is not None
    run_module.JobRun(bench, claim, threading.Event()).run()
    assert place.registry.adapters("default") == []
    with pytest.raises(UnknownAdapterError):
        place.registry.checkpoints("default", job.name)
    assert place.get(job).fine_tuned_model is None


SLEEPS_AFTER = "import time; print({}, flush=True); time.sleep(300)"


@pytest.mark.parametrize(("said", "attempts"), [("", 1), (json.dumps(STEP), 0)])
def test_memory_that_serving_needs_costs_an_attempt_unless_a_step_was_made(
    place: Workplace, said: str, attempts: int
) -> None:
    """A trainer that never gets as far would load its base for ever."""
    job = place.make()
    launcher = Scripted(place, SLEEPS_AFTER.format(repr(said)))

    def short() -> bool:
        return bool(launcher.launched) and (not said or place.get(job).step == 1)

    bench = replace(open_bench(place.settings, place.registry), launcher=launcher, short_of_memory=short)
    claim = bench.queue.claim("w")
    assert claim is not None
    run_module.JobRun(bench, claim, threading.Event()).run()
    with place.registry.database.reading() as session:
        row = session.get_one(JobRow, job.id)
        assert (row.status, row.attempts) == ("queued", attempts)


def test_a_worker_that_ends_when_idle_waits_for_jobs_that_wait_and_for_leases_that_nobody_renews(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(lease_seconds=3, job_retry_seconds=1)
    lost, later = place.make(), place.make()
    bench = open_bench(place.settings, place.registry)
    claims = [bench.queue.claim("dead"), bench.queue.claim("dead")]
    assert claims[1] is not None
    bench.queue.put_back(claims[1], "again", delay_seconds=2)
    place.work(Scripted(place, FAILS, FAILS))
    assert [place.get(job).status for job in (lost, later)] == ["failed", "failed"]


def test_a_worker_that_ends_when_idle_leaves_a_living_workers_job_to_it(place: Workplace) -> None:
    job = place.make()
    bench = open_bench(place.settings, place.registry)
    claim = bench.queue.claim("alive")
    assert claim is not None
    ended = threading.Event()

    def renewing() -> None:
        while not ended.wait(0.1):
            bench.queue.heartbeat(claim)

    alive = threading.Thread(target=renewing)
    alive.start()
    try:
        place.work()
    finally:
        ended.set()
        alive.join()
    assert place.get(job).status == "validating_files"


@pytest.mark.parametrize(("stopped", "status"), [("pause", "paused"), ("leave", "queued")])
def test_a_trainer_that_does_not_stop_when_asked_to_is_killed(
    make_workplace: Callable[..., Workplace], stopped: str, status: str
) -> None:
    place = make_workplace(trainer_stop_seconds=1)
    job = place.make()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    launcher = Scripted(place, deaf + SLEEPS_AFTER.format(repr(json.dumps(STEP))))
    worker = open_worker(place.settings, place.registry, slots=1, launcher=launcher)
    thread = threading.Thread(target=worker.run)
    thread.start()
    place.wait(job, lambda found: found.step == 1)
    if stopped == "pause":
        place.jobs.pause("default", job.id)
    else:
        worker.leave()
    found = place.wait(job, lambda found: found.status == status)
    worker.leave()
    thread.join()
    assert launcher.launched[0].status() == 137
    assert found.estimated_finish is None


def test_a_job_that_cannot_be_read_waits_and_keeps_no_other_from_its_turn(place: Workplace) -> None:
    strange, plain = place.make(), place.make()
    with place.registry.database.session() as session:
        session.get_one(JobRow, strange.id).request = {"model": "base", "of_tomorrow": 1}
    queue = open_bench(place.settings, place.registry).queue
    claim = queue.claim("w")
    assert claim is not None
    assert claim.job.id == plain.id
    assert queue.claim("w") is None
    with place.registry.database.reading() as session:
        row = session.get_one(JobRow, strange.id)
        assert (row.status, row.attempts) == ("queued", 0)
        assert row.not_before is not None
    assert "cannot read the job" in place.messages(strange)[-1]


def test_a_validation_file_that_cannot_be_learnt_from_is_named(place: Workplace) -> None:
    broken = place.upload([{"prompt": "a", "completion": ""}] * 4)
    job = place.make(validation_file=broken)
    place.work()
    error = place.get(job).error
    assert error is not None
    assert (error.code, error.param) == ("invalid_training_file", "validation_file")
    assert error.message.startswith(broken)
