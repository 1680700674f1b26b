"""What runs and claims both do to rows."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from evaluation.runs.errors import RunStateError, TooManyRunsError, UnknownRunError
from evaluation.runs.run import ENDED, NewRun, NewRunEvent, Run, RunStatus
from evaluation.runs.stored import generation_to_json, run_of, scorers_to_json
from evaluation.runs.tables import RunCaseRow, RunEventRow, RunModelRow, RunRow


def insert(session: Session, tenant: str, new: NewRun, now: datetime, *, max_open: int) -> RunRow:
    """The rows of a new run that waits.

    Raises:
        TooManyRunsError: as many have not ended as may.
    """
    open_runs = select(func.count()).select_from(RunRow).where(RunRow.tenant == tenant, RunRow.status.not_in(ENDED))
    if (session.scalar(open_runs) or 0) >= max_open:
        raise TooManyRunsError(max_open)
    row = RunRow(
        id=f"eval-{secrets.token_hex(12)}",
        tenant=tenant,
        status="queued",
        suite_name=new.suite.name,
        suite_digest=new.suite.digest,
        num_cases=new.suite.num_cases,
        scorers=scorers_to_json(new.scorers),
        generation=generation_to_json(new.generation),
        base_digest=new.base_digest,
        actor=new.actor,
        judge=new.judge,
        created_at=now,
        done=0,
        total=new.suite.num_cases * len(new.models),
        token=0,
        attempts=0,
    )
    session.add(row)
    session.flush()
    for position, model in enumerate(new.models):
        session.add(
            RunModelRow(
                run_id=row.id, position=position, asked=model.asked, model=model.model, digest=model.digest, result=None
            )
        )
    session.flush()
    return row


def find(session: Session, tenant: str, run_id: str, *, for_update: bool = False) -> RunRow:
    """The row of a tenant's run.

    Raises:
        UnknownRunError: the tenant has none of that id.
    """
    row = session.get(RunRow, run_id, with_for_update=for_update or None)
    if row is None or row.tenant != tenant:
        raise UnknownRunError("evaluation", run_id)
    return row


def add_event(session: Session, row: RunRow, event: NewRunEvent, at: datetime) -> None:
    """Writes down what happened."""
    data = None if event.data is None else dict(event.data)
    session.add(RunEventRow(run_id=row.id, created_at=at, level=event.level, message=event.message, data=data))


def set_status(session: Session, row: RunRow, status: RunStatus, event: NewRunEvent, at: datetime) -> None:
    """Moves a run to a state in which no server has it; what one still writes is refused from now on."""
    row.status = status
    row.token += 1
    row.server = row.lease_until = None
    row.finished_at = at if status in ENDED else None
    add_event(session, row, event, at)


def reopen(session: Session, row: RunRow, now: datetime) -> None:
    """Lets a run that has ended wait again, without the cases that have no score.

    Raises:
        RunStateError: it is completed.
    """
    if row.status == "completed":
        raise RunStateError(row.id, row.status, "resumed", "partial, cancelled or failed")
    session.execute(delete(RunCaseRow).where(RunCaseRow.run_id == row.id, RunCaseRow.failed))
    row.done = session.scalar(select(func.count()).select_from(RunCaseRow).where(RunCaseRow.run_id == row.id)) or 0
    row.attempts, row.error = 0, None
    for model in models_of(session, [row.id])[row.id]:
        model.result = None
    message = f"The evaluation goes on; {row.total - row.done} of {row.total} answers are left"
    set_status(session, row, "queued", NewRunEvent(message=message), now)
    session.flush()


def models_of(session: Session, run_ids: Sequence[str]) -> dict[str, list[RunModelRow]]:
    """The models of runs, in order."""
    found: dict[str, list[RunModelRow]] = {run_id: [] for run_id in run_ids}
    query = select(RunModelRow).where(RunModelRow.run_id.in_(run_ids)).order_by(RunModelRow.position)
    for model in session.scalars(query):
        found[model.run_id].append(model)
    return found


def read(session: Session, row: RunRow) -> Run:
    """The run of a row; results without cases."""
    return run_of(row, models_of(session, [row.id])[row.id])
