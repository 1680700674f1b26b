"""The workers' side of jobs: claims with leases and fencing tokens.

A claim is a job, the worker that has it and a token that rises with each claim. Every write happens in one transaction
with a look at the token, so a worker that was thought dead and comes back changes nothing.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from adapters.reference import Reference
from service.gate.asking import ask
from service.gate.tables import GateRow
from service.jobs.changes import add_event, end, set_status
from service.jobs.errors import StaleClaimError
from service.jobs.job import CLAIMED, ENDED, Job, JobError, NewEvent
from service.jobs.jobs import job_of
from service.jobs.order import Waiting, choose
from service.jobs.tables import JobCheckpointRow, JobRow
from storage.clock import now_of
from storage.columns import UtcDateTime
from storage.database import Database

_log = logging.getLogger(__name__)

_LOCK = "job queue"
_ASIDE_SECONDS = 60.0
"""Before a job that cannot be read is looked at again."""
_AT_ONCE = 64
"""Ended jobs that are looked at together."""
Wanted = Literal["run", "pause"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a job."""

    job: Job
    worker: str
    token: int
    checkpoint: str | None
    """Key prefix of the checkpoint to go on from."""


@dataclass(frozen=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint that requests can name."""

    step: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """News of a run; what is None stays as it is."""

    events: Sequence[NewEvent] = ()
    training: bool = False
    """The first step is near: rows and settings are sound."""
    step: int | None = None
    total_steps: int | None = None
    trained_tokens: int | None = None
    eta_seconds: float | None = None
    checkpoints: Sequence[NewCheckpoint] = ()
    state_key: str | None = None
    """Of what another worker would go on from."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Jobs that have not ended."""

    num_queued: int
    """Those that may not be claimed yet as well."""
    leases: Mapping[str, datetime | None]
    """Of claimed jobs, by id: until when."""


@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """Bounds of the queue."""

    lease_seconds: float = 60
    """After which a worker that is not heard of has lost its job."""
    max_running: int = 1_000_000
    """Jobs of one tenant that run at once."""
    max_attempts: int = 3
    """Claims without any progress, after which a job has failed."""


class Queue:
    """Hands out jobs and takes down what becomes of them; safe for threads and processes, on any machine."""

    def __init__(self, database: Database, limits: QueueLimits) -> None:
        self._database = database
        self.limits = limits

    def claim(self, worker: str) -> Claim | None:
        """The next job, held for `lease_seconds`; None if none waits. A job whose lease has run out waits too."""
        # Without a lock, so that idle workers hold nobody up, nor does a first look, which compiles SQL.
        with self._database.reading() as session:
            if self._next(session, now_of(session)) is None:
                return None
        with self._database.session() as session:
            self._database.serialise(session, _LOCK)
            now = now_of(session)
            while (found := self._next(session, now)) is not None:
                row = session.scalar(select(JobRow).where(JobRow.id == found, _free(now)).with_for_update())
                # Cancelled, or renewed after all, since the look at the queue.
                if row is None:
                    continue
                if row.wanted == "pause":
                    set_status(session, row, "paused", NewEvent(message="The job is paused; its worker was lost"), now)
                elif row.attempts >= self.limits.max_attempts:
                    self._give_up(session, row, now)
                else:
                    try:
                        # Before anything is changed: another version of lorad may have written it.
                        job_of(row)
                    except ValidationError as error:
                        _log.error("job %s cannot be read: %s", row.id, error)
                        _set_aside(session, row, now)
                    else:
                        return self._take(session, row, worker, now)
                session.flush()
            return None

    def heartbeat(self, claim: Claim) -> Wanted:
        """Holds the job for another `lease_seconds`; what its owner wants of it.

        Raises:
            StaleClaimError: the claim is over.
        """
        with self._database.session() as session:
            row = _held(session, claim)
            row.lease_until = now_of(session) + timedelta(seconds=self.limits.lease_seconds)
            return cast(Wanted, row.wanted)

    def guard(self, claim: Claim) -> Callable[[Session], None]:
        """Lets a transaction on the queue's database go on only while the claim is held, and holds it until its end.

        What it gives raises StaleClaimError.
        """

        def check(session: Session) -> None:
            _held(session, claim)

        return check

    def record(self, claim: Claim, progress: Progress) -> None:
        """Takes down news; all of it or nothing.

        Raises:
            StaleClaimError: the claim is over.
        """
        with self._database.session() as session:
            row, now = _held(session, claim), now_of(session)
            for event in progress.events:
                add_event(session, row, event, now)
            _get_on(row, progress, now)
            for checkpoint in progress.checkpoints:
                _add_checkpoint(session, row, checkpoint, now)

    def succeed(self, claim: Claim, model: str, trained_tokens: int) -> None:
        """The adapter is published as `model`, and stands before the gate that the job names.

        Raises:
            StaleClaimError: the claim is over.
        """
        with self._database.session() as session:
            row, now = _held(session, claim), now_of(session)
            row.fine_tuned_model, row.trained_tokens = model, trained_tokens
            if claim.job.request.gate is not None:
                _ask_gate(session, row, claim.job.request.gate, now)
            message = f"The job has succeeded; requests may name {model} as their model"
            end(session, row, "succeeded", NewEvent(message=message), now)

    def fail(self, claim: Claim, error: JobError) -> None:
        """Nothing will come of the job.

        Raises:
            StaleClaimError: the claim is over.
        """
        with self._database.session() as session:
            row = _held(session, claim)
            event = NewEvent(level="error", message=error.message)
            end(session, row, "failed", event, now_of(session), error=error)

    def put_back(self, claim: Claim, reason: str, delay_seconds: float = 0, *, blameless: bool = False) -> None:
        """Lets another worker, or this one later, go on from the newest checkpoint; pauses a job that is to pause.

        Args:
            claim: on the job.
            reason: shown to its owner.
            delay_seconds: before which nobody takes it.
            blameless: nothing went wrong, so it is no attempt that failed.

        Raises:
            StaleClaimError: the claim is over.
        """
        with self._database.session() as session:
            row, now = _held(session, claim), now_of(session)
            pausing = row.wanted == "pause"
            if pausing:
                set_status(session, row, "paused", NewEvent(message="The job is paused"), now)
                return
            row.attempts = max(0, row.attempts - blameless)
            set_status(session, row, "queued", NewEvent(level="info" if blameless else "warn", message=reason), now)
            row.not_before = now + timedelta(seconds=delay_seconds) if delay_seconds else None

    def outlook(self) -> Outlook:
        """What may still be to do, also for workers that could not claim anything just now."""
        rows = select(JobRow.id, JobRow.status, JobRow.lease_until).where(JobRow.status.in_((*CLAIMED, "queued")))
        with self._database.reading() as session:
            found = session.execute(rows).all()
        return Outlook(
            num_queued=sum(row.status == "queued" for row in found),
            leases={row.id: row.lease_until for row in found if row.status != "queued"},
        )

    def has_ended(self, job_id: str) -> bool:
        """Whether nothing will happen to the job any more."""
        with self._database.reading() as session:
            return session.scalar(select(JobRow.status).where(JobRow.id == job_id)) in ENDED

    def holds(self, job_id: str, token: int) -> bool:
        """Whether that claim is the job's newest and has not been given back."""
        held = select(JobRow.id).where(JobRow.id == job_id, JobRow.token == token, JobRow.status.in_(CLAIMED))
        with self._database.reading() as session:
            return session.scalar(held) is not None

    def ended_with_state(self) -> Sequence[tuple[str, str]]:
        """Tenant and id of some of the jobs that have ended and still name a state in the object store."""
        ended = select(JobRow.tenant, JobRow.id).where(JobRow.status.in_(ENDED), JobRow.checkpoint.is_not(None))
        with self._database.reading() as session:
            return [(row.tenant, row.id) for row in session.execute(ended.limit(_AT_ONCE))]

    def forget_state(self, job_id: str) -> None:
        """The state of an ended job is no longer in the object store."""
        with self._database.session() as session:
            session.get_one(JobRow, job_id, with_for_update=True).checkpoint = None

    def _next(self, session: Session, now: datetime) -> str | None:
        first = (JobRow.priority.desc(), JobRow.created_at, JobRow.id)
        place = func.row_number().over(partition_by=JobRow.tenant, order_by=first).label("place")
        # Each tenant's first only: a long queue is not read through.
        ranked = select(JobRow.id, place).where(_free(now)).subquery()
        heads = select(JobRow.id, JobRow.tenant).join(ranked, ranked.c.id == JobRow.id).where(ranked.c.place == 1)
        waiting = [Waiting(id=each.id, tenant=each.tenant) for each in session.execute(heads.order_by(*first))]
        if not waiting:
            return None
        alive = JobRow.status.in_(CLAIMED) & (JobRow.lease_until >= now)
        running = session.execute(select(JobRow.tenant, func.count().label("num")).where(alive).group_by(JobRow.tenant))
        served = session.execute(
            select(JobRow.tenant, func.max(JobRow.started_at, type_=UtcDateTime).label("last"))
            .where(JobRow.started_at.is_not(None), JobRow.tenant.in_({each.tenant for each in waiting}))
            .group_by(JobRow.tenant)
        )
        chosen = choose(
            waiting,
            {row.tenant: row.num for row in running},
            {row.tenant: row.last for row in served},
            self.limits.max_running,
        )
        return None if chosen is None else chosen.id

    def _take(self, session: Session, row: JobRow, worker: str, now: datetime) -> Claim:
        lost = row.worker
        row.status, row.worker = "validating_files", worker
        row.token += 1
        row.attempts += 1
        row.not_before = None
        row.lease_until = now + timedelta(seconds=self.limits.lease_seconds)
        if lost is not None:
            message = f"The worker was lost; the job goes on from step {row.step if row.checkpoint else 0}"
            add_event(session, row, NewEvent(level="warn", message=message), now)
        row.started_at = row.started_at or now
        session.flush()
        return Claim(job=job_of(row), worker=worker, token=row.token, checkpoint=row.checkpoint)

    def _give_up(self, session: Session, row: JobRow, now: datetime) -> None:
        message = f"{row.attempts} attempts in a row got no further, or lost their worker: look at the workers' logs"
        error = JobError(code="worker_lost", message=message)
        end(session, row, "failed", NewEvent(level="error", message=message), now, error=error)


def _free(now: datetime) -> ColumnElement[bool]:
    """Jobs that may be claimed: they wait and are due, or their worker is lost."""
    lost = JobRow.status.in_(CLAIMED) & (JobRow.lease_until < now)
    due = (JobRow.status == "queued") & or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
    return or_(lost, due)


def _set_aside(session: Session, row: JobRow, now: datetime) -> None:
    """Lets the other jobs go on, and this one when a worker comes that understands it."""
    message = "This worker cannot read the job, which another version of lorad may have made; it waits for another one"
    set_status(session, row, "queued", NewEvent(level="warn", message=message), now)
    row.not_before = now + timedelta(seconds=_ASIDE_SECONDS)


def _held(session: Session, claim: Claim) -> JobRow:
    """The job's row, locked, if it is still this claim's."""
    held = select(JobRow).where(JobRow.id == claim.job.id, JobRow.token == claim.token).with_for_update()
    row = session.scalar(held)
    if row is None:
        raise StaleClaimError(claim.job.id, claim.token)
    return row


def _get_on(row: JobRow, progress: Progress, now: datetime) -> None:
    if progress.training:
        row.status = "running"
    if progress.step is not None and progress.step > row.step:
        row.step, row.attempts = progress.step, 0
    if progress.eta_seconds is not None:
        row.estimated_finish = now + timedelta(seconds=progress.eta_seconds)
    row.total_steps = row.total_steps if progress.total_steps is None else progress.total_steps
    row.trained_tokens = row.trained_tokens if progress.trained_tokens is None else progress.trained_tokens
    row.checkpoint = progress.state_key or row.checkpoint


def _ask_gate(session: Session, row: JobRow, alias: str, now: datetime) -> None:
    """In the transaction that ends the job: it is asked exactly once, whatever is killed."""
    version = Reference.parse(row.fine_tuned_model or "")
    gate = session.get(GateRow, (row.tenant, version.name, alias))
    if gate is None or version.number is None:
        message = f"{version.name}@{alias} has no gate any more; the alias stays where it is"
        add_event(session, row, NewEvent(level="warn", message=message), now)
        return
    check = ask(session, gate, version.number, now, actor=f"job {row.id}", job_id=row.id)
    message = f"{version} stands before the gate of {version.name}@{alias}: {check.id}"
    add_event(session, row, NewEvent(message=message, data={"gate_check": check.id}), now)


def _add_checkpoint(session: Session, row: JobRow, checkpoint: NewCheckpoint, now: datetime) -> None:
    known = select(JobCheckpointRow).where(JobCheckpointRow.job_id == row.id, JobCheckpointRow.step == checkpoint.step)
    # A run that was taken up again reaches steps that it had reached before.
    found = session.scalar(known)
    if found is not None:
        found.metrics = dict(checkpoint.metrics)
        return
    session.add(
        JobCheckpointRow(
            id=f"ftckpt_{secrets.token_hex(12)}",
            job_id=row.id,
            step=checkpoint.step,
            created_at=now,
            metrics=dict(checkpoint.metrics),
        )
    )
    message = f"Checkpoint at step {checkpoint.step}"
    add_event(session, row, NewEvent(message=message, data={"step": checkpoint.step}), now)
