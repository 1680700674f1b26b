"""Every tenant's runs as they are asked for, read and ended; `claims` is the side of whoever carries them out."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from evaluation.results import CaseResult, ModelResult
from evaluation.runs.changes import add_event, find, insert, models_of, read, reopen, set_status
from evaluation.runs.errors import RunStateError, TooManyRunsError, UnknownRunError
from evaluation.runs.run import ENDED, NewRun, NewRunEvent, Run, RunEvent, RunStatus
from evaluation.runs.stored import case_of, result_of, run_of
from evaluation.runs.tables import RunCaseRow, RunEventRow, RunModelRow, RunRow
from evaluation.suites.contents import drop_unused, keep
from evaluation.suites.suite import Suite
from storage.clock import now_of
from storage.database import Database

_STREAMED = 1000
"""Events read at once for a stream."""
_DEFAULT_MAX_OPEN = 100


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs are wanted; None is any."""

    status: RunStatus | None = None
    suite: str | None = None
    """Name or digest of the suite."""
    model_digest: str | None = None
    """Of a version that was among the models."""


class Runs:
    """Creates, lists, cancels and resumes. Every method sees one tenant only; safe for threads and processes.

    Args:
        database: where rows are.
        max_open: runs of a tenant that wait or run.
    """

    def __init__(self, database: Database, *, max_open: int = _DEFAULT_MAX_OPEN) -> None:
        self._database = database
        self.max_open = max_open

    def create(self, tenant: str, new: NewRun, suite: Suite | None = None) -> Run:
        """Lets a run wait for a server that carries it out; on return it is durable.

        Args:
            tenant: whose.
            new: what is to be measured.
            suite: its cases; None where they are stored already.

        Raises:
            TooManyRunsError: as many have not ended as may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"evaluation runs of {tenant}")
            now = now_of(session)
            if suite is not None:
                keep(self._database, session, tenant, suite)
            row = insert(session, tenant, new, now, max_open=self.max_open)
            add_event(session, row, NewRunEvent(message=f"{row.id} waits: {row.total} answers to measure"), now)
            return read(session, row)

    def get(self, tenant: str, run_id: str) -> Run:
        """One run; its results, if it is through, without cases.

        Raises:
            UnknownRunError: the tenant has none of that id.
        """
        with self._database.reading() as session:
            return read(session, find(session, tenant, run_id))

    def results(self, tenant: str, run_id: str) -> tuple[ModelResult, ...]:
        """What a run that is through has found, in the order of its models, with every case.

        Raises:
            UnknownRunError: the tenant has none of that id.
            RunStateError: it is not through.
        """
        with self._database.reading() as session:
            row = find(session, tenant, run_id)
            if row.status not in ("completed", "partial"):
                raise RunStateError(run_id, row.status, "read as a result", "completed or partial")
            return tuple(
                result_of(model.result, _cases(session, run_id, model.position))
                for model in models_of(session, [run_id])[run_id]
                if model.result is not None
            )

    def cases(
        self, tenant: str, run_id: str, position: int, *, after: int = -1, limit: int = 1000
    ) -> Sequence[CaseResult]:
        """What is stored of one model so far, in the order of the cases, from the one after number `after`.

        Raises:
            UnknownRunError: the tenant has no such run, or it no such model.
        """
        with self._database.reading() as session:
            find(session, tenant, run_id)
            if session.get(RunModelRow, (run_id, position)) is None:
                raise UnknownRunError(f"model of {run_id} at position", str(position))
            return _cases(session, run_id, position, after=after, limit=limit)

    def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, wanted: RunFilter | None = None
    ) -> Sequence[Run]:
        """Runs, newest first, from the one after `after`; results without cases.

        Raises:
            UnknownRunError: there is no run `after`.
        """
        query = select(RunRow).where(RunRow.tenant == tenant)
        wanted = wanted or RunFilter()
        if wanted.status is not None:
            query = query.where(RunRow.status == wanted.status)
        if wanted.suite is not None:
            query = query.where((RunRow.suite_name == wanted.suite) | (RunRow.suite_digest == wanted.suite))
        if wanted.model_digest is not None:
            with_model = select(RunModelRow.run_id).where(RunModelRow.digest == wanted.model_digest)
            query = query.where(RunRow.id.in_(with_model))
        with self._database.reading() as session:
            if after is not None:
                cursor = find(session, tenant, after)
                query = query.where(tuple_(RunRow.created_at, RunRow.id) < (cursor.created_at, cursor.id))
            rows = session.scalars(query.order_by(RunRow.created_at.desc(), RunRow.id.desc()).limit(limit)).all()
            models = models_of(session, [row.id for row in rows])
            return [run_of(row, models[row.id]) for row in rows]

    def check_room(self, tenant: str, wanted: int) -> None:
        """Finds out, before runs are prepared, whether so many more may begin now; `create` decides.

        Raises:
            TooManyRunsError: they may not.
        """
        query = select(func.count()).select_from(RunRow).where(RunRow.tenant == tenant, RunRow.status.not_in(ENDED))
        with self._database.reading() as session:
            if (session.scalar(query) or 0) + wanted > self.max_open:
                raise TooManyRunsError(self.max_open)

    def cancel(self, tenant: str, run_id: str) -> Run:
        """Ends a run at once; what is stored of it stays, and it can be resumed.

        Raises:
            UnknownRunError: the tenant has none of that id.
            RunStateError: it has ended otherwise.
        """
        with self._database.session() as session:
            row = find(session, tenant, run_id, for_update=True)
            if row.status in ENDED:
                if row.status == "cancelled":
                    return read(session, row)
                raise RunStateError(run_id, row.status, "cancelled", "queued or running")
            message = f"The evaluation was cancelled; {row.done} of {row.total} answers are stored"
            set_status(session, row, "cancelled", NewRunEvent(message=message), now_of(session))
            return read(session, row)

    def resume(self, tenant: str, run_id: str) -> Run:
        """Lets a run go on: cases with an error are done again, those that were not reached for the first time.

        Raises:
            UnknownRunError: the tenant has none of that id.
            RunStateError: it is completed.
        """
        with self._database.session() as session:
            row = find(session, tenant, run_id, for_update=True)
            if row.status in ENDED:
                reopen(session, row, now_of(session))
            return read(session, row)

    def delete(self, tenant: str, run_id: str) -> None:
        """Removes a run that has ended, with all that is stored of it.

        Raises:
            UnknownRunError: the tenant has none of that id.
            RunStateError: it has not ended.
        """
        with self._database.session() as session:
            row = find(session, tenant, run_id, for_update=True)
            if row.status not in ENDED:
                raise RunStateError(run_id, row.status, "deleted", f"one of {', '.join(ENDED)}")
            session.delete(row)
            session.flush()
            drop_unused(self._database, session, tenant, row.suite_digest)

    def events(self, tenant: str, run_id: str, before: int | None = None, limit: int = 20) -> Sequence[RunEvent]:
        """What was said of a run, newest first, from the event before number `before`.

        Raises:
            UnknownRunError: there is no such run.
        """
        with self._database.reading() as session:
            find(session, tenant, run_id)
            query = select(RunEventRow).where(RunEventRow.run_id == run_id)
            if before is not None:
                query = query.where(RunEventRow.id < before)
            return [_event_of(row) for row in session.scalars(query.order_by(RunEventRow.id.desc()).limit(limit))]

    def events_since(self, tenant: str, run_id: str, number: int) -> Sequence[RunEvent]:
        """The events after that number, oldest first, at most a thousand.

        Raises:
            UnknownRunError: the tenant has no such run.
        """
        with self._database.reading() as session:
            find(session, tenant, run_id)
            query = select(RunEventRow).where(RunEventRow.run_id == run_id, RunEventRow.id > number)
            return [_event_of(row) for row in session.scalars(query.order_by(RunEventRow.id).limit(_STREAMED))]


def _cases(
    session: Session, run_id: str, position: int, *, after: int = -1, limit: int | None = None
) -> Sequence[CaseResult]:
    query = select(RunCaseRow).where(
        RunCaseRow.run_id == run_id, RunCaseRow.position == position, RunCaseRow.case_index > after
    )
    return [case_of(row.result) for row in session.scalars(query.order_by(RunCaseRow.case_index).limit(limit))]


def _event_of(row: RunEventRow) -> RunEvent:
    return RunEvent(
        number=row.id,
        created_at=row.created_at,
        level=row.level,  # type: ignore[arg-type]
        message=row.message,
        data=row.data,
    )
