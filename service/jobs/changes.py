"""What every change of a job's state writes with it: its event, and a message to the operator's webhook at the end."""

import secrets
from datetime import datetime

from sqlalchemy.orm import Session

from service.jobs.job import ENDED, JobError, JobStatus, NewEvent
from service.jobs.tables import JobEventRow, JobRow, WebhookDeliveryRow


def add_event(session: Session, row: JobRow, event: NewEvent, at: datetime) -> None:
    """Writes down what happened."""
    session.add(
        JobEventRow(
            job_id=row.id, created_at=at, level=event.level, type=event.type, message=event.message, data=event.data
        )
    )


def set_status(session: Session, row: JobRow, status: JobStatus, event: NewEvent, at: datetime) -> None:
    """Moves a job to a state in which no worker has it; what a worker still writes is refused from now on."""
    row.status = status
    row.token += 1
    row.worker = row.lease_until = row.not_before = row.estimated_finish = None
    row.wanted = "run"
    add_event(session, row, event, at)


def end(
    session: Session, row: JobRow, status: JobStatus, event: NewEvent, at: datetime, *, error: JobError | None = None
) -> None:
    """Ends a job for good, and owes the operator's webhook a message."""
    assert status in ENDED
    set_status(session, row, status, event, at)
    row.finished_at = at
    if error is not None:
        row.error_code, row.error_message, row.error_param = error.code, error.message, error.param
    session.add(
        WebhookDeliveryRow(
            id=f"evt_{secrets.token_hex(12)}",
            job_id=row.id,
            type=f"fine_tuning.job.{status}",
            created_at=at,
            attempts=0,
            next_at=at,
        )
    )
