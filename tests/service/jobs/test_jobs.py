from collections.abc import Callable
from typing import Any

import pytest

from service.files.errors import UnknownFileError
from service.jobs.errors import IdempotencyError, JobStateError, TooManyJobsError, UnknownJobError
from service.jobs.job import Job, NewEvent
from service.jobs.jobs import Jobs
from service.jobs.queue import NewCheckpoint, Progress, Queue
from service.jobs.request import JobRequest

MakeJob = Callable[..., Job]


def test_a_job_is_found_as_it_was_asked_for(jobs: Jobs, make_job: MakeJob) -> None:
    made = make_job(suffix="support", lora={"rank": 4}, metadata={"team": "a"})
    assert made.status == "queued"
    assert jobs.get("acme", made.id) == made
    assert made.request.lora.rank == 4
    assert made.name == "support"


def test_a_job_without_suffix_has_its_id_for_a_name(make_job: MakeJob) -> None:
    made = make_job()
    assert made.name == made.id


def test_a_tenant_sees_no_job_of_another(jobs: Jobs, make_job: MakeJob) -> None:
    theirs = make_job("other")
    actions: list[Callable[[], Any]] = [
        lambda: jobs.get("acme", theirs.id),
        lambda: jobs.cancel("acme", theirs.id),
        lambda: jobs.pause("acme", theirs.id),
        lambda: jobs.resume("acme", theirs.id),
        lambda: jobs.events("acme", theirs.id),
        lambda: jobs.events_since("acme", theirs.id, 0),
        lambda: jobs.checkpoints("acme", theirs.id),
        lambda: jobs.position("acme", theirs.id),
        lambda: jobs.list("acme", after=theirs.id),
    ]
    for action in actions:
        with pytest.raises(UnknownJobError):
            action()
    assert jobs.list("acme").data == []
    assert jobs.get("other", theirs.id).status == "queued"


def test_a_file_that_is_not_there_makes_no_job(jobs: Jobs) -> None:
    with pytest.raises(UnknownFileError):
        jobs.create("acme", JobRequest(model="tiny", training_file="file-x"))
    assert jobs.list("acme").data == []


def test_the_same_key_makes_one_job(jobs: Jobs, make_job: MakeJob) -> None:
    first = make_job(idempotency_key="k", seed=1)
    assert make_job(idempotency_key="k", seed=1) == first
    assert make_job("other", idempotency_key="k", seed=1).id != first.id
    with pytest.raises(IdempotencyError, match=first.id):
        make_job(idempotency_key="k", seed=2)
    assert len(jobs.list("acme").data) == 1


def test_jobs_that_have_ended_do_not_count(jobs: Jobs, make_job: MakeJob) -> None:
    made = [make_job() for _ in range(8)]
    with pytest.raises(TooManyJobsError, match="8 jobs"):
        make_job()
    jobs.cancel("acme", made[0].id)
    make_job()


def test_pages_hold_every_job_once(jobs: Jobs, make_job: MakeJob) -> None:
    made = [make_job(metadata={"n": str(number % 2)}) for number in range(7)]
    found, after = [], None
    while True:
        page = jobs.list("acme", after=after, limit=3)
        found += [job.id for job in page.data]
        if not page.has_more:
            break
        after = page.data[-1].id
    assert found == [job.id for job in reversed(made)]
    odd = jobs.list("acme", metadata={"n": "1"}).data
    assert {job.id for job in odd} == {job.id for job in made[1::2]}


def test_cancelling_shuts_the_worker_out(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = queue.claim("w")
    assert claim is not None
    assert jobs.cancel("acme", made.id).status == "cancelled"
    from service.jobs.errors import StaleClaimError

    for write in (
        lambda: queue.heartbeat(claim),
        lambda: queue.record(claim, Progress(step=1)),
        lambda: queue.succeed(claim, "x:1", 1),
        lambda: queue.put_back(claim, "no"),
    ):
        with pytest.raises(StaleClaimError):
            write()
    assert jobs.get("acme", made.id).status == "cancelled"
    assert jobs.cancel("acme", made.id).status == "cancelled"


def test_what_has_ended_stays_as_it_is(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = queue.claim("w")
    assert claim is not None
    queue.succeed(claim, "support:1", 5)
    for action in (jobs.cancel, jobs.pause, jobs.resume):
        with pytest.raises(JobStateError, match="succeeded"):
            action("acme", made.id)
    assert jobs.get("acme", made.id).fine_tuned_model == "support:1"


def test_a_paused_job_is_not_claimed_until_it_is_resumed(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    assert jobs.pause("acme", made.id).status == "paused"
    assert queue.claim("w") is None
    assert jobs.resume("acme", made.id).status == "queued"
    claim = queue.claim("w")
    assert claim is not None
    assert jobs.pause("acme", made.id).status == "validating_files"
    assert queue.heartbeat(claim) == "pause"
    queue.put_back(claim, "stopped")
    assert jobs.get("acme", made.id).status == "paused"


def test_events_are_paged_newest_first_and_streamed_oldest_first(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = queue.claim("w")
    assert claim is not None
    queue.record(claim, Progress(events=[NewEvent(message=str(number)) for number in range(5)]))
    page = jobs.events("acme", made.id, limit=2)
    assert [event.message for event in page.data] == ["4", "3"]
    assert page.has_more
    page = jobs.events("acme", made.id, after=page.data[-1].id, limit=100)
    assert [event.message for event in page.data][:3] == ["2", "1", "0"]
    assert not page.has_more
    streamed = jobs.events_since("acme", made.id, page.data[2].number)
    assert [event.message for event in streamed] == ["1", "2", "3", "4"]
    for odd in ("ftevent-0", "ftevent-999999", "x", "ftevent-" + "9" * 30):
        with pytest.raises(UnknownJobError):
            jobs.events("acme", made.id, after=odd)


def test_checkpoints_are_paged_and_kept_once_a_step(jobs: Jobs, queue: Queue, make_job: MakeJob) -> None:
    made = make_job()
    claim = queue.claim("w")
    assert claim is not None
    for step, loss in ((1, 3.0), (2, 2.0), (2, 2.5), (3, 1.0)):
        kept = NewCheckpoint(step=step, metrics={"step": step, "train_loss": loss})
        queue.record(claim, Progress(step=step, checkpoints=[kept]))
    page = jobs.checkpoints("acme", made.id, limit=2)
    assert [each.step for each in page.data] == [3, 2]
    assert page.data[1].metrics["train_loss"] == 2.5
    rest = jobs.checkpoints("acme", made.id, after=page.data[-1].id)
    assert [each.step for each in rest.data] == [1]


def test_a_file_is_used_until_its_jobs_have_ended(jobs: Jobs, make_job: MakeJob) -> None:
    made = make_job()
    file_id = made.request.training_file
    assert file_id is not None
    assert jobs.uses("acme", file_id) == made.id
    assert jobs.uses("other", file_id) is None
    jobs.cancel("acme", made.id)
    assert jobs.uses("acme", file_id) is None


def test_everybodys_first_job_stands_before_anybodys_second(jobs: Jobs, make_job: MakeJob) -> None:
    first, second, urgent = make_job(), make_job(), make_job(priority=5)
    theirs = make_job("other")
    places = {job.id: jobs.position(job.tenant, job.id) for job in (first, second, urgent, theirs)}
    assert places == {urgent.id: 1, theirs.id: 2, first.id: 3, second.id: 4}
    jobs.pause("acme", first.id)
    assert jobs.position("acme", first.id) is None
