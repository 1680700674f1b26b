"""Every tenant's jobs as the API changes and reads them; `queue` is the workers' side."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from service.files.files import find_row as find_file
from service.jobs.changes import add_event, end, set_status
from service.jobs.errors import IdempotencyError, JobStateError, TooManyJobsError, UnknownJobError
from service.jobs.job import (
    CLAIMED,
    ENDED,
    EventType,
    Job,
    JobCheckpoint,
    JobError,
    JobEvent,
    JobStatus,
    Level,
    NewEvent,
)
from service.jobs.order import Waiting, place
from service.jobs.request import JobRequest
from service.jobs.tables import JobCheckpointRow, JobEventRow, JobRow
from service.page import Page
from storage.clock import now_of
from storage.database import Database

_STREAMED = 1000
"""Events read at once for a stream."""


class Jobs:
    """Creates, lists, pauses and cancels. Every method sees one tenant only; safe for threads and processes.

    Args:
        database: where rows are.
        max_jobs: of a tenant that have not ended.
    """

    def __init__(self, database: Database, *, max_jobs: int) -> None:
        self._database = database
        self._max_jobs = max_jobs

    def create(self, tenant: str, request: JobRequest, *, idempotency_key: str | None = None) -> Job:
        """Puts a job into the queue; on return it is durable. The same key gives the job that it made before.

        Raises:
            UnknownFileError: the tenant has no such file.
            TooManyJobsError: as many have not ended as may.
            IdempotencyError: the key stands for another request.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"jobs of {tenant}")
            if idempotency_key is not None and (made := _by_key(session, tenant, idempotency_key)) is not None:
                job = job_of(made)
                if job.request != request:
                    raise IdempotencyError(idempotency_key, job.id)
                return job
            if self._num_open(session, tenant) >= self._max_jobs:
                raise TooManyJobsError(self._max_jobs)
            for _, file_id in request.named_files():
                find_file(session, tenant, file_id, shared=True)
            row = _new_row(tenant, request, idempotency_key, now_of(session))
            session.add(row)
            session.flush()
            add_event(session, row, NewEvent(message=f"Created fine-tuning job {row.id}; it waits"), row.created_at)
            return job_of(row)

    def get(self, tenant: str, job_id: str) -> Job:
        """One job.

        Raises:
            UnknownJobError: the tenant has none of that id.
        """
        with self._database.reading() as session:
            return job_of(_find(session, tenant, job_id))

    def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, metadata: Mapping[str, str] | None = None
    ) -> Page[Job]:
        """Jobs, newest first, from the one after `after`; only those that carry `metadata`.

        Raises:
            UnknownJobError: there is no job `after`.
        """
        query = select(JobRow).where(JobRow.tenant == tenant)
        for key, value in (metadata or {}).items():
            query = query.where(JobRow.request["metadata"][key].as_string() == value)
        with self._database.reading() as session:
            if after is not None:
                cursor = _find(session, tenant, after)
                query = query.where(tuple_(JobRow.created_at, JobRow.id) < (cursor.created_at, cursor.id))
            query = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
            return Page.of([job_of(row) for row in session.scalars(query)], limit)

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Ends a job at once; a worker that has it is shut out and stops its trainer.

        Raises:
            UnknownJobError: the tenant has none of that id.
            JobStateError: it has ended otherwise.
        """
        with self._database.session() as session:
            row = _find(session, tenant, job_id, for_update=True)
            if row.status in ENDED:
                if row.status == "cancelled":
                    return job_of(row)
                raise JobStateError(row.id, row.status, "cancelled", "queued, running or paused")
            end(session, row, "cancelled", NewEvent(message="The job was cancelled"), now_of(session))
            return job_of(row)

    def pause(self, tenant: str, job_id: str) -> Job:
        """Lets a job stop at its next checkpoint; one that only waits is paused at once.

        Raises:
            UnknownJobError: the tenant has none of that id.
            JobStateError: it has ended.
        """
        with self._database.session() as session:
            row = _find(session, tenant, job_id, for_update=True)
            now = now_of(session)
            if row.status in ENDED:
                raise JobStateError(row.id, row.status, "paused", "queued or running")
            if row.status == "queued":
                set_status(session, row, "paused", NewEvent(message="The job is paused"), now)
            elif row.status in CLAIMED and row.wanted != "pause":
                row.wanted = "pause"
                add_event(session, row, NewEvent(message="The job will pause at its next step"), now)
            return job_of(row)

    def resume(self, tenant: str, job_id: str) -> Job:
        """Puts a paused job back into the queue; it goes on from its newest checkpoint.

        Raises:
            UnknownJobError: the tenant has none of that id.
            JobStateError: it has ended.
        """
        with self._database.session() as session:
            row = _find(session, tenant, job_id, for_update=True)
            if row.status in ENDED:
                raise JobStateError(row.id, row.status, "resumed", "paused")
            if row.status == "paused":
                row.attempts = 0
                set_status(session, row, "queued", NewEvent(message="The job waits again"), now_of(session))
            row.wanted = "run"
            return job_of(row)

    def events(self, tenant: str, job_id: str, after: str | None = None, limit: int = 20) -> Page[JobEvent]:
        """What a job has said, newest first, from the event after `after`.

        Raises:
            UnknownJobError: there is no such job, or no event `after`.
        """
        with self._database.reading() as session:
            _find(session, tenant, job_id)
            query = select(JobEventRow).where(JobEventRow.job_id == job_id)
            if after is not None:
                query = query.where(JobEventRow.id < _event_row(session, job_id, after).id)
            rows = session.scalars(query.order_by(JobEventRow.id.desc()).limit(limit + 1)).all()
            return Page.of([_event_of(row) for row in rows], limit)

    def events_since(self, tenant: str, job_id: str, number: int) -> Sequence[JobEvent]:
        """The events after that number, oldest first, at most a thousand.

        Raises:
            UnknownJobError: the tenant has no such job.
        """
        with self._database.reading() as session:
            _find(session, tenant, job_id)
            query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.id > number)
            return [_event_of(row) for row in session.scalars(query.order_by(JobEventRow.id).limit(_STREAMED))]

    def checkpoints(self, tenant: str, job_id: str, after: str | None = None, limit: int = 10) -> Page[JobCheckpoint]:
        """A job's checkpoints, newest first, from the one after `after`.

        Raises:
            UnknownJobError: there is no such job, or no checkpoint `after`.
        """
        with self._database.reading() as session:
            _find(session, tenant, job_id)
            query = select(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id)
            if after is not None:
                cursor = session.get(JobCheckpointRow, after)
                if cursor is None or cursor.job_id != job_id:
                    raise UnknownJobError("checkpoint", after)
                query = query.where(JobCheckpointRow.step < cursor.step)
            rows = session.scalars(query.order_by(JobCheckpointRow.step.desc()).limit(limit + 1)).all()
            return Page.of([_checkpoint_of(row) for row in rows], limit)

    def position(self, tenant: str, job_id: str) -> int | None:
        """The job's place in the queue, 1 is next; None where it does not wait.

        Raises:
            UnknownJobError: the tenant has no such job.
        """
        with self._database.reading() as session:
            if _find(session, tenant, job_id).status != "queued":
                return None
            in_order = select(JobRow.id, JobRow.tenant).where(JobRow.status == "queued")
            found = session.execute(in_order.order_by(JobRow.priority.desc(), JobRow.created_at, JobRow.id))
            return place(job_id, [Waiting(id=each.id, tenant=each.tenant) for each in found])

    def has_made(self, tenant: str, idempotency_key: str) -> bool:
        """Whether the key stands for a job already."""
        with self._database.reading() as session:
            return _by_key(session, tenant, idempotency_key) is not None

    def counts(self, tenant: str) -> dict[str, int]:
        """How many jobs there are in each state that any is in."""
        query = select(JobRow.status, func.count()).where(JobRow.tenant == tenant).group_by(JobRow.status)
        with self._database.reading() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def uses(self, tenant: str, file_id: str) -> str | None:
        """The id of a job that has not ended and reads this file; None if there is none."""
        with self._database.reading() as session:
            query = select(JobRow).where(_open_of(tenant)).order_by(JobRow.created_at)
            for row in session.scalars(query):
                if file_id in {named for _, named in job_of(row).request.named_files()}:
                    return row.id
        return None

    def _num_open(self, session: Session, tenant: str) -> int:
        return session.scalar(select(func.count()).select_from(JobRow).where(_open_of(tenant))) or 0


def job_of(row: JobRow) -> Job:
    """What a row says."""
    error = None
    if row.error_code is not None:
        error = JobError(code=row.error_code, message=row.error_message or "", param=row.error_param)
    return Job(
        id=row.id,
        tenant=row.tenant,
        status=cast(JobStatus, row.status),
        request=JobRequest.model_validate(row.request),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        step=row.step,
        total_steps=row.total_steps,
        trained_tokens=row.trained_tokens,
        estimated_finish=row.estimated_finish,
        fine_tuned_model=row.fine_tuned_model,
        error=error,
    )


def _new_row(tenant: str, request: JobRequest, idempotency_key: str | None, at: datetime) -> JobRow:
    return JobRow(
        id=f"ftjob-{secrets.token_hex(12)}",
        tenant=tenant,
        status="queued",
        wanted="run",
        priority=request.priority,
        request=request.model_dump(mode="json", exclude_unset=True),
        idempotency_key=idempotency_key,
        created_at=at,
        token=0,
        attempts=0,
        step=0,
    )


def _open_of(tenant: str) -> ColumnElement[bool]:
    return (JobRow.tenant == tenant) & JobRow.status.not_in(ENDED)


def _by_key(session: Session, tenant: str, key: str) -> JobRow | None:
    return session.scalar(select(JobRow).where(JobRow.tenant == tenant, JobRow.idempotency_key == key))


def _find(session: Session, tenant: str, job_id: str, *, for_update: bool = False) -> JobRow:
    query = select(JobRow).where(JobRow.tenant == tenant, JobRow.id == job_id)
    row = session.scalar(query.with_for_update() if for_update else query)
    if row is None:
        raise UnknownJobError("job", job_id)
    return row


def _event_row(session: Session, job_id: str, event_id: str) -> JobEventRow:
    number = event_id.removeprefix("ftevent-")
    row = session.get(JobEventRow, int(number)) if number.isdecimal() and len(number) < 19 else None
    if row is None or row.job_id != job_id:
        raise UnknownJobError("event", event_id)
    return row


def _event_of(row: JobEventRow) -> JobEvent:
    return JobEvent(
        number=row.id,
        created_at=row.created_at,
        level=cast(Level, row.level),
        type=cast(EventType, row.type),
        message=row.message,
        data=row.data,
    )


def _checkpoint_of(row: JobCheckpointRow) -> JobCheckpoint:
    return JobCheckpoint(id=row.id, job_id=row.job_id, step=row.step, created_at=row.created_at, metrics=row.metrics)
