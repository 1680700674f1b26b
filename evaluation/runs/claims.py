"""The side of whoever carries runs out: claims with leases and fencing tokens, as finetuning jobs have them.

A claim is a run, the server that has it and a token that rises with each claim. Every write happens in one transaction
with a look at the token, so a server that was thought dead and comes back changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from evaluation.results import CaseResult, ModelResult
from evaluation.runs.changes import add_event, find, insert, models_of, read, reopen, set_status
from evaluation.runs.errors import OtherBaseError, RunStateError, StaleRunError
from evaluation.runs.run import ENDED, NewRun, NewRunEvent, Run
from evaluation.runs.stored import case_of, case_to_json, result_to_json
from evaluation.runs.tables import RunCaseRow, RunRow
from evaluation.suites.contents import keep
from evaluation.suites.suite import Suite
from storage.clock import now_of
from storage.database import Database

_LOCK = "evaluation runs"
_MAX_ATTEMPTS = 3
"""Claims in a row that stored nothing, after which a run has failed: what kills a server would kill the next one."""
_TOLD = 100
"""A run says so often how far it is."""


@dataclass(frozen=True, kw_only=True)
class RunClaim:
    """A server's hold on a run."""

    run: Run
    token: int

    @property
    def id(self) -> str:
        """The run's."""
        return self.run.id


@dataclass(frozen=True, kw_only=True)
class NewCase:
    """What one model gave on one case."""

    position: int
    """The model's."""
    result: CaseResult


class RunClaims:
    """Hands out runs and takes down what becomes of them; safe for threads and processes, on any machine.

    Args:
        database: where rows are.
        server: who claims, for people.
        lease_seconds: after which a server that is not heard of has lost its runs to others.
        max_open: runs of a tenant that wait or run.
    """

    def __init__(self, database: Database, *, server: str, lease_seconds: float, max_open: int) -> None:
        self._database = database
        self._server = server
        self._lease = timedelta(seconds=lease_seconds)
        self._max_open = max_open

    def begin(self, tenant: str, new: NewRun, suite: Suite | None = None) -> RunClaim:
        """Makes a run that nobody else can claim meanwhile, and holds it.

        Args:
            tenant: whose.
            new: what is to be measured.
            suite: its cases; None where they are stored already.

        Raises:
            TooManyRunsError: as many of the tenant's have not ended as may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"evaluation runs of {tenant}")
            now = now_of(session)
            if suite is not None:
                keep(self._database, session, tenant, suite)
            row = insert(session, tenant, new, now, max_open=self._max_open)
            return self._take(session, row, now, NewRunEvent(message=f"{row.id} runs: {row.total} answers to measure"))

    def resume(self, tenant: str, run_id: str, base_digest: str) -> RunClaim:
        """Goes on with a run that has ended, waits or has lost its server, and holds it.

        Raises:
            UnknownRunError: the tenant has none of that id.
            RunStateError: it is completed, or runs.
            OtherBaseError: it began on another base.
        """
        with self._database.session() as session:
            row, now = find(session, tenant, run_id, for_update=True), now_of(session)
            if row.base_digest != base_digest:
                raise OtherBaseError(run_id, row.base_digest, base_digest)
            if row.status in ENDED:
                reopen(session, row, now)
            lost = row.status == "running" and row.lease_until is not None and row.lease_until < now
            if row.status != "queued" and not lost:
                raise RunStateError(run_id, row.status, "resumed", "queued, partial, cancelled or failed")
            return self._take(session, row, now, NewRunEvent(message="The evaluation runs again"))

    def claim(self, base_digest: str) -> RunClaim | None:
        """The run of that base that has waited longest, held; None if none waits. One whose lease is over waits too."""
        with self._database.session() as session:
            self._database.serialise(session, _LOCK)
            now = now_of(session)
            while (row := _next(session, base_digest, now)) is not None:
                if row.attempts >= _MAX_ATTEMPTS:
                    self._give_up(session, row, now)
                    session.flush()
                    continue
                lost = row.status == "running"
                how = "is taken up again: its server was lost" if lost else "runs"
                message = f"The evaluation {how}; {row.total - row.done} of {row.total} answers are left"
                event = NewRunEvent(message=message, level="warn" if lost else "info")
                return self._take(session, row, now, event)
            return None

    def recorded(self, claim: RunClaim) -> Mapping[int, Mapping[int, CaseResult]]:
        """What is stored already, by the model's position and the case's number."""
        found: dict[int, dict[int, CaseResult]] = {at: {} for at in range(len(claim.run.models))}
        with self._database.reading() as session:
            for row in session.scalars(select(RunCaseRow).where(RunCaseRow.run_id == claim.run.id)):
                found[row.position][row.case_index] = case_of(row.result)
        return found

    def record(self, claim: RunClaim, cases: Sequence[NewCase]) -> None:
        """Stores cases, all or none, and holds the run for another lease; a case that is stored already stays.

        Raises:
            StaleRunError: the claim is over.
        """
        with self._database.session() as session:
            row, now = _held(session, claim), now_of(session)
            row.lease_until = now + self._lease
            added = 0
            for case in cases:
                key = (row.id, case.position, case.result.index)
                if session.get(RunCaseRow, key) is None:
                    session.add(_case_row(key, case.result))
                    added += 1
            if added:
                row.attempts = 0
                _tell_progress(session, row, added, now)

    def renew(self, claim: RunClaim) -> None:
        """Holds the run for another lease.

        Raises:
            StaleRunError: the claim is over.
        """
        self.record(claim, ())

    def finish(self, claim: RunClaim, results: Sequence[ModelResult]) -> Run:
        """The run is through; `partial` where cases have an error instead of a score.

        Raises:
            StaleRunError: the claim is over.
        """
        with self._database.session() as session:
            row, now = _held(session, claim), now_of(session)
            for model, result in zip(models_of(session, [row.id])[row.id], results, strict=True):
                model.result = result_to_json(result)
            errors = [case.error for result in results for case in result.cases if case.error is not None]
            if errors:
                row.error = f"{len(errors)} of {row.total} answers have no score: {errors[0]}"
                event = NewRunEvent(message=f"The evaluation is partial: {row.error}", level="warn")
                set_status(session, row, "partial", event, now)
            else:
                event = NewRunEvent(message="The evaluation is completed")
                set_status(session, row, "completed", event, now)
            session.flush()
            return read(session, row)

    def fail(self, claim: RunClaim, message: str) -> None:
        """Nothing will come of the run as it is; what is stored of it stays.

        Raises:
            StaleRunError: the claim is over.
        """
        with self._database.session() as session:
            _fail(session, _held(session, claim), message, now_of(session))

    def cancel(self, claim: RunClaim) -> None:
        """Whoever waited for the run waits no more.

        Raises:
            StaleRunError: the claim is over.
        """
        with self._database.session() as session:
            event = NewRunEvent(message="The evaluation was cancelled: whoever asked for it went away")
            set_status(session, _held(session, claim), "cancelled", event, now_of(session))

    def release(self, claim: RunClaim) -> None:
        """Lets the run wait for another server, or for this one after its restart; a claim that is over is over."""
        with self._database.session() as session:
            row = session.get_one(RunRow, claim.run.id, with_for_update=True)
            if row.token == claim.token and row.status == "running":
                row.attempts = max(0, row.attempts - 1)
                event = NewRunEvent(message="The evaluation waits: its server shuts down, or is full")
                set_status(session, row, "queued", event, now_of(session))

    def _take(self, session: Session, row: RunRow, now: datetime, event: NewRunEvent) -> RunClaim:
        row.status = "running"
        row.token += 1
        row.attempts += 1
        row.server, row.lease_until = self._server, now + self._lease
        row.started_at = row.started_at or now
        add_event(session, row, event, now)
        session.flush()
        return RunClaim(run=read(session, row), token=row.token)

    def _give_up(self, session: Session, row: RunRow, now: datetime) -> None:
        message = f"{row.attempts} servers in a row were lost with this run before they had stored anything"
        _fail(session, row, message, now)


def _next(session: Session, base_digest: str, now: datetime) -> RunRow | None:
    waits = or_(RunRow.status == "queued", (RunRow.status == "running") & (RunRow.lease_until < now))
    query = select(RunRow).where(RunRow.base_digest == base_digest, waits)
    return session.scalar(query.order_by(RunRow.created_at, RunRow.id).limit(1).with_for_update())


def _held(session: Session, claim: RunClaim) -> RunRow:
    row = session.get(RunRow, claim.run.id, with_for_update=True)
    if row is None or row.token != claim.token or row.status != "running":
        raise StaleRunError(f"{claim.run.id} is no longer held: it was cancelled, or another server goes on with it")
    return row


def _fail(session: Session, row: RunRow, message: str, now: datetime) -> None:
    row.error = message
    set_status(session, row, "failed", NewRunEvent(message=f"The evaluation failed: {message}", level="error"), now)


def _case_row(key: tuple[str, int, int], result: CaseResult) -> RunCaseRow:
    run_id, position, case_index = key
    return RunCaseRow(
        run_id=run_id,
        position=position,
        case_index=case_index,
        failed=result.error is not None,
        result=case_to_json(result),
    )


def _tell_progress(session: Session, row: RunRow, added: int, now: datetime) -> None:
    before, row.done = row.done, row.done + added
    if before * _TOLD // row.total != row.done * _TOLD // row.total:
        event = NewRunEvent(
            message=f"{row.done} of {row.total} answers measured", data={"done": row.done, "total": row.total}
        )
        add_event(session, row, event, now)
