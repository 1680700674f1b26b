"""Workers that run the real trainer on a tiny random base."""

import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from service.jobs.job import Job
from tests.service.jobs.workplace import Workplace


def test_a_job_becomes_a_version_that_answers(place: Workplace) -> None:
    job = place.make(suffix="support")
    place.work()
    done = place.get(job)
    assert (done.status, done.fine_tuned_model, done.step, done.total_steps) == ("succeeded", "support:1", 6, 6)
    assert done.trained_tokens
    version = place.registry.resolve("default", "support")
    assert str(version.reference) == "support:1"
    steps = [checkpoint.step for checkpoint in place.jobs.checkpoints("default", job.id).data]
    # The trainer keeps two, and a tiny one is faster than whoever publishes them.
    assert steps[0] == 6
    assert set(steps) <= {2, 4, 6}
    for step in steps:
        assert place.registry.resolve("default", f"support:ckpt-step-{step}").digest != version.digest
    metrics = [e.data for e in place.jobs.events_since("default", job.id, 0) if e.type == "metrics" and e.data]
    assert [data["step"] for data in metrics if "train_loss" in data] == [1, 2, 3, 4, 5, 6]
    assert not [path for path in place.settings.job_workspaces.glob("*/*") if path.is_dir()]


def test_rows_that_cannot_be_learnt_fail_the_job_with_their_lines(place: Workplace) -> None:
    job = place.make(rows=[{"prompt": "a", "completion": ""}] * 4)
    place.work()
    failed = place.get(job)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "invalid_training_file"
    assert failed.error.param == "training_file"
    assert f"{job.request.training_file}:1: the completion" in failed.error.message
    assert str(place.settings.home) not in failed.error.message


def test_a_job_pauses_at_a_checkpoint_and_goes_on_to_the_same_end(place: Workplace) -> None:
    whole = place.make(suffix="whole", steps=300)
    place.work()
    job = place.make(suffix="paused", steps=300)
    worker = threading.Thread(target=place.work)
    worker.start()
    place.wait(job, lambda found: found.step >= 3)
    place.jobs.pause("default", job.id)
    worker.join()
    paused = place.get(job)
    assert paused.status == "paused"
    assert paused.step < 300
    place.jobs.resume("default", job.id)
    place.work()
    assert place.get(job).status == place.get(whole).status == "succeeded"
    assert f"Training goes on from step {paused.step}" in place.messages(job)
    weights = [
        (place.registry.folders.path(place.registry.resolve("default", name).digest.removeprefix("sha256:")))
        / "adapter_model.safetensors"
        for name in ("whole", "paused")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_cancelling_ends_the_trainer(place: Workplace) -> None:
    job = place.make(steps=5000)
    worker = threading.Thread(target=place.work)
    worker.start()
    place.wait(job, lambda found: found.step >= 1)
    place.jobs.cancel("default", job.id)
    worker.join(30)
    assert not worker.is_alive()
    assert place.get(job).status == "cancelled"
    assert _trainers(job) == []


@pytest.mark.parametrize("victim", ["worker", "trainer"])
def test_a_job_survives_kill_9(place: Workplace, victim: str) -> None:
    job = place.make(suffix="support", steps=300, lora={"save_every": 20})
    worker = place.start()
    try:
        place.wait(job, lambda found: bool(place.jobs.checkpoints("default", found.id).data))
        if victim == "worker":
            worker.kill()
            worker.wait()
            # The trainer goes with it, long before the lease is over.
            _gone(job)
            worker = place.start()
        else:
            for trainer in _trainers(job):
                trainer.kill()
        done = place.wait(job, lambda found: found.ended)
    finally:
        worker.terminate()
        worker.wait()
    assert done.status == "succeeded"
    assert [version.number for version in place.registry.versions("default", "support")] == [1]
    assert any("goes on from step" in message for message in place.messages(job))


def test_a_worker_that_slept_past_its_lease_harms_nothing(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(lease_seconds=2)
    job = place.make(suffix="support", steps=300, lora={"save_every": 20})
    sleeper = place.start()
    second = None
    try:
        place.wait(job, lambda found: found.step >= 2)
        _stop_outside_a_transaction(sleeper, place)
        # Its trainer is not renewed, so it ends before anybody else may begin.
        _gone(job)
        second = place.start()
        place.wait(job, lambda _: any("worker was lost" in message for message in place.messages(job)))
        sleeper.send_signal(signal.SIGCONT)
        done = place.wait(job, lambda found: found.ended)
    finally:
        sleeper.send_signal(signal.SIGCONT)
        for worker in (sleeper, second):
            if worker is not None:
                worker.terminate()
                worker.wait()
    assert done.status == "succeeded"
    assert [version.number for version in place.registry.versions("default", "support")] == [1]


def test_a_worker_that_is_told_to_leave_puts_its_job_back(place: Workplace) -> None:
    job = place.make(steps=5000)
    worker = place.start()
    place.wait(job, lambda found: found.step >= 2)
    worker.terminate()
    assert worker.wait(30) == 0
    left = place.get(job)
    assert left.status == "queued"
    assert place.jobs.checkpoints("default", job.id).data[0].step >= 2
    place.jobs.cancel("default", job.id)


def _stop_outside_a_transaction(worker: "subprocess.Popen[bytes]", place: Workplace) -> None:
    """SQLite's lock is one for all: a process that is stopped with it stops everybody."""
    while True:
        worker.send_signal(signal.SIGSTOP)
        connection = sqlite3.connect(place.settings.home / "lorad.db", timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        else:
            return
        finally:
            connection.close()


def _trainers(job: Job) -> list[psutil.Process]:
    """Every process that trains for the job."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if job.id in command and "train" in command and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def _gone(job: Job) -> None:
    deadline = time.monotonic() + 20
    while _trainers(job):
        assert time.monotonic() < deadline, "a trainer outlived its worker"
        time.sleep(0.05)
