import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evaluation.gate.text import parse
from evaluation.suites.store import Suites
from service.gate.gates import Gates
from service.jobs import queue as queue_module
from service.jobs.errors import StaleClaimError
from service.jobs.job import Job, JobError
from service.jobs.jobs import Jobs
from service.jobs.order import choose
from service.jobs.queue import Claim, Progress, Queue
from storage.database import Database
from tests.service.gate.conftest import make_suite

MakeJob = Callable[..., Job]


def claimed(queue: Queue, worker: str = "w") -> Claim:
    claim = queue.claim(worker)
    assert claim is not None
    return claim


def test_tenants_take_turns_and_priorities_count_within_one(queue: Queue, make_job: MakeJob) -> None:
    old, urgent = make_job("a"), make_job("a", priority=9)
    theirs = make_job("b")
    order = [claimed(queue).job.id for _ in range(3)]
    assert order == [urgent.id, theirs.id, old.id]
    assert queue.claim("w") is None


def test_a_tenant_that_was_just_served_comes_after_the_others(queue: Queue, make_job: MakeJob) -> None:
    for tenant in ("a", "a", "a", "b", "b"):
        make_job(tenant)
    served = []
    for _ in range(5):
        claim = claimed(queue)
        served.append(claim.job.tenant)
        queue.succeed(claim, "x:1", 1)
    assert served == ["a", "b", "a", "b", "a"]


def test_a_tenant_runs_no_more_than_its_limit(queue: Queue, make_job: MakeJob) -> None:
    for _ in range(3):
        make_job("a")
    first, _ = claimed(queue), claimed(queue)
    assert queue.claim("w") is None
    queue.succeed(first, "x:1", 1)
    claimed(queue)


def test_a_worker_that_finds_no_job_waits_for_no_writer(queue: Queue, database: Database) -> None:
    with database.session() as writer, ThreadPoolExecutor(1) as pool:
        database.serialise(writer, queue_module._LOCK)
        assert pool.submit(queue.claim, "idle").result(timeout=5) is None


def test_many_workers_take_every_job_once(queue: Queue, make_job: MakeJob) -> None:
    made = [make_job(f"t{number % 4}") for number in range(16)]
    taken: list[str] = []

    def work(name: str) -> None:
        while (claim := queue.claim(name)) is not None:
            taken.append(claim.job.id)
            queue.succeed(claim, "x:1", 1)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == Counter(job.id for job in made)


def test_a_job_whose_lease_is_over_goes_on_elsewhere(
    jobs: Jobs, queue: Queue, short_queue: Queue, make_job: MakeJob
) -> None:
    made = make_job()
    lost = claimed(short_queue, "lost")
    short_queue.record(lost, Progress(step=3, state_key="state-3"))
    found = claimed(queue, "found")
    assert (found.job.id, found.checkpoint, found.token) == (made.id, "state-3", lost.token + 1)
    for write in (
        lambda: short_queue.heartbeat(lost),
        lambda: short_queue.record(lost, Progress(step=9)),
        lambda: short_queue.fail(lost, JobError(code="x", message="y")),
        lambda: short_queue.succeed(lost, "x:1", 1),
    ):
        with pytest.raises(StaleClaimError):
            write()
    assert jobs.get("acme", made.id).step == 3
    assert queue.claim("third") is None


def test_nobody_else_takes_a_job_that_is_held(queue: Queue, short_queue: Queue, make_job: MakeJob) -> None:
    make_job()
    claim = claimed(short_queue)
    queue.heartbeat(claim)
    assert queue.claim("other") is None


def test_a_job_that_never_gets_on_is_given_up(jobs: Jobs, short_queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    for _ in range(3):
        claimed(short_queue)
    assert short_queue.claim("w") is None
    job = jobs.get("acme", made.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "worker_lost"


def test_progress_gives_new_attempts(short_queue: Queue, make_job: MakeJob) -> None:
    make_job()
    for step in range(1, 6):
        short_queue.record(claimed(short_queue), Progress(step=step))
    claimed(short_queue)


def test_a_lost_job_that_was_to_pause_is_paused(jobs: Jobs, short_queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claimed(short_queue)
    jobs.pause("acme", made.id)
    assert short_queue.claim("w") is None
    assert jobs.get("acme", made.id).status == "paused"


def test_a_job_that_was_put_back_waits_its_time(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    queue.put_back(claimed(queue), "no memory", delay_seconds=1000)
    assert jobs.get("acme", made.id).status == "queued"
    assert queue.claim("w") is None


def test_news_are_taken_down_together(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = claimed(queue)
    queue.record(claim, Progress(training=True, step=2, total_steps=8, trained_tokens=100, eta_seconds=60))
    job = jobs.get("acme", made.id)
    assert (job.status, job.step, job.total_steps, job.trained_tokens) == ("running", 2, 8, 100)
    assert job.estimated_finish is not None
    assert job.started_at is not None
    queue.fail(claim, JobError(code="diverged", message="NaN", param="lora"))
    job = jobs.get("acme", made.id)
    assert (job.status, job.error) == ("failed", JobError(code="diverged", message="NaN", param="lora"))
    assert job.finished_at is not None


@pytest.mark.parametrize("look", [1, 2])
def test_a_job_that_is_cancelled_while_it_is_chosen_is_not_claimed(
    jobs: Jobs, queue: Queue, make_job: MakeJob, database: Database, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    if database.is_sqlite and look == 2:
        pytest.skip("there the second look locks everything")
    first, second = make_job(), make_job()
    looks = itertools.count(1)

    def chosen(*arguments: Any) -> Any:
        found = choose(*arguments)
        if found is not None and found.id == first.id and next(looks) == look:
            jobs.cancel("acme", first.id)
        return found

    monkeypatch.setattr(queue_module, "choose", chosen)
    assert claimed(queue).job.id == second.id
    assert jobs.get("acme", first.id).status == "cancelled"


def test_a_job_that_was_put_back_without_blame_has_all_its_attempts(queue: Queue, make_job: MakeJob) -> None:
    make_job()
    for _ in range(5):
        queue.put_back(claimed(queue), "no memory", blameless=True)
    claimed(queue)


def test_a_job_that_is_resumed_before_it_has_paused_goes_on(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = claimed(queue)
    jobs.pause("acme", made.id)
    jobs.resume("acme", made.id)
    queue.put_back(claim, "stopped", blameless=True)
    assert jobs.get("acme", made.id).status == "queued"


def gate_on_prod(database: Database) -> Gates:
    Suites(database).add("acme", make_suite("tickets"))
    gates = Gates(database)
    gates.set("acme", "support", parse("promote to prod on tickets if exact_match >= prod"), "ann")
    return gates


def test_a_job_that_succeeds_stands_before_its_gate_exactly_once(
    queue: Queue, make_job: MakeJob, database: Database, jobs: Jobs
) -> None:
    gates = gate_on_prod(database)
    job = make_job(suffix="support", gate="prod")
    claim = claimed(queue)
    queue.succeed(claim, "support:7", 1)
    with pytest.raises(StaleClaimError):
        queue.succeed(claim, "support:7", 1)
    [check] = gates.open_checks()
    assert (check.tenant, check.adapter, check.alias, check.candidate) == ("acme", "support", "prod", 7)
    assert (check.status, check.job_id, check.actor) == ("waiting", job.id, f"job {job.id}")
    told = [event for event in jobs.events_since("acme", job.id, 0) if event.data]
    assert told[-1].data == {"gate_check": check.id}


def test_a_job_whose_gate_is_gone_succeeds_all_the_same(
    queue: Queue, make_job: MakeJob, database: Database, jobs: Jobs
) -> None:
    job = make_job(suffix="support", gate="prod")
    queue.succeed(claimed(queue), "support:7", 1)
    assert jobs.get("acme", job.id).status == "succeeded"
    assert list(Gates(database).open_checks()) == []
    warnings = [event.message for event in jobs.events_since("acme", job.id, 0) if event.level == "warn"]
    assert warnings == ["support@prod has no gate any more; the alias stays where it is"]


def test_a_job_that_fails_comes_before_no_gate(queue: Queue, make_job: MakeJob, database: Database) -> None:
    gates = gate_on_prod(database)
    make_job(suffix="support", gate="prod")
    queue.fail(claimed(queue), JobError(code="diverged", message="no number"))
    assert list(gates.open_checks()) == []
