"""The faults, each of which some jobs meet."""

import os
import random
import signal
import time
from collections.abc import Callable

import psutil

from benchmarks.fault_runs.counts import Counts
from benchmarks.fault_runs.place import LEASE_SECONDS, TENANT, Place, end, trainers
from service.jobs.job import Job

_AWAY_SECONDS = 5


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


def durable_kills(place: Place, counts: Counts, most: int, first: int = 1) -> None:
    """Worker and trainer die at their first, second, … call, until they have no such call left."""
    for which in ("worker_dies_at", "trainer_dies_at"):
        for number in range(first, first + most):
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
            said = [event.message for event in place.jobs.events_since(TENANT, job.id, 0)]
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
            time.sleep(LEASE_SECONDS + 1)
            others.append(place.start())  # noqa: B023
            while not _taken_over(place, job):
                time.sleep(0.05)
            counts.faults += 1
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


def _taken_over(place: Place, job: Job) -> bool:
    """Whether a worker has said that another lost the job."""
    return any("worker was lost" in event.message for event in place.jobs.events_since(TENANT, job.id, 0))
