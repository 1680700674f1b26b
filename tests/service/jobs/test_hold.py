import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from service.jobs.errors import StaleClaimError
from service.jobs.hold import Hold
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.jobs.launcher import Running
from service.jobs.queue import Claim, Queue, QueueLimits, Wanted
from storage.database import Database
from storage.errors import StorageUnavailableError


class Trainer:
    def __init__(self) -> None:
        self.renewed = 0
        self.killed = threading.Event()

    def renew(self) -> None:
        self.renewed += 1

    def kill(self) -> None:
        self.killed.set()


@pytest.fixture
def held(database: Database, make_job: Callable[..., Job]) -> tuple[Queue, Claim, Trainer]:
    make_job()
    queue = Queue(database, QueueLimits(lease_seconds=2))
    claim = queue.claim("w")
    assert claim is not None
    return queue, claim, Trainer()


def test_a_claim_is_kept_while_its_worker_is_busy(held: tuple[Queue, Claim, Trainer]) -> None:
    queue, claim, trainer = held
    with Hold(queue, claim) as hold:
        hold.keep(cast(Running, trainer))
        # An upload, longer than the lease.
        time.sleep(2.5)
        hold.check()
        assert queue.claim("other") is None
    assert trainer.renewed
    assert not trainer.killed.is_set()


def test_the_trainer_of_a_cancelled_job_is_killed_at_once(held: tuple[Queue, Claim, Trainer], jobs: Jobs) -> None:
    queue, claim, trainer = held
    with Hold(queue, claim) as hold:
        hold.keep(cast(Running, trainer))
        jobs.cancel("acme", claim.job.id)
        assert trainer.killed.wait(30)
        with pytest.raises(StaleClaimError):
            hold.check()


def test_a_trainer_is_not_renewed_by_an_answer_that_was_long_under_way(
    held: tuple[Queue, Claim, Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, claim, trainer = held
    beat, waits = queue.heartbeat, [0.8, 0.0]

    def slow(claim: Claim) -> Wanted:
        wanted = beat(claim)
        time.sleep(waits.pop(0))
        return wanted

    monkeypatch.setattr(queue, "heartbeat", slow)
    hold = Hold(queue, claim)
    hold.keep(cast(Running, trainer))
    # The first answer is no licence, so it is asked again.
    hold.renew()
    assert (waits, trainer.renewed) == ([], 1)


def test_a_claim_is_given_up_when_the_database_stays_away(
    held: tuple[Queue, Claim, Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, claim, trainer = held

    def away(_claim: Claim) -> Wanted:
        raise StorageUnavailableError("away")

    monkeypatch.setattr(queue, "heartbeat", away)
    with Hold(queue, claim) as hold:
        hold.keep(cast(Running, trainer))
        hold.check()
        time.sleep(2.1)
        with pytest.raises(StaleClaimError):
            hold.check()
    assert trainer.renewed == 0
