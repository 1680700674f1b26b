"""The side of whoever carries generations out: leases and fencing tokens, as evaluations and jobs have them."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.generation.changes import generation_of, let_go
from service.generation.errors import StaleGenerationError
from service.generation.generation import Generation, Status
from service.generation.outcome import Outcome
from service.generation.tables import GenerationRow, OutcomeRow
from storage.clock import now_of
from storage.database import Database

_LOCK = "data generations"
_MAX_CLAIMS = 3
"""In a row that stored nothing, after which a generation has failed: what kills a server would kill the next one."""


@dataclass(frozen=True, kw_only=True)
class GenerationClaim:
    """A server's hold on a generation."""

    generation: Generation
    token: int

    @property
    def id(self) -> str:
        """The generation's."""
        return self.generation.id


class GenerationClaims:
    """Hands generations out and takes down what becomes of them; safe for threads and processes, on any machine."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease_seconds)

    def claim(self, base_digest: str) -> GenerationClaim | None:
        """The generation of that base that has waited longest, held; one whose lease is over waits too."""
        with self._database.session() as session:
            self._database.serialise(session, _LOCK)
            now = now_of(session)
            waits = or_(
                GenerationRow.status == "queued",
                (GenerationRow.status == "running") & (GenerationRow.lease_until < now),
            )
            query = select(GenerationRow).where(GenerationRow.base_digest == base_digest, waits)
            query = query.order_by(GenerationRow.created_at, GenerationRow.id).with_for_update()
            for row in session.scalars(query):
                if row.claims >= _MAX_CLAIMS:
                    let_go(row, "failed")
                    row.error = f"{row.claims} servers in a row were lost with it before they had stored anything"
                    row.finished_at = now
                    continue
                row.status = "running"
                row.token += 1
                row.claims += 1
                row.lease_until = now + self._lease
                row.started_at = row.started_at or now
                session.flush()
                return GenerationClaim(generation=generation_of(row), token=row.token)
            return None

    def outcomes(self, claim: GenerationClaim) -> "StoredOutcomes":
        """Where the outcomes of a generation are kept."""
        return StoredOutcomes(self._database, claim, self._lease)

    def renew(self, claim: GenerationClaim) -> None:
        """Holds the generation for another lease.

        Raises:
            StaleGenerationError: the claim is over.
        """
        with self._database.session() as session:
            _held(session, claim).lease_until = now_of(session) + self._lease

    def end(
        self, claim: GenerationClaim, status: Status, *, file_id: str | None = None, error: str | None = None
    ) -> None:
        """Writes down what came of it.

        Raises:
            StaleGenerationError: the claim is over.
        """
        with self._database.session() as session:
            row = _held(session, claim)
            let_go(row, status)
            row.file_id = file_id or row.file_id
            row.error = error
            row.finished_at = now_of(session)

    def fail(self, claim: GenerationClaim, message: str) -> None:
        """Nothing will come of it as it is; the rows that it has stay.

        Raises:
            StaleGenerationError: the claim is over.
        """
        self.end(claim, "failed", error=message)

    def release(self, claim: GenerationClaim) -> None:
        """Lets the generation wait for another server, or for this one after its restart."""
        with self._database.session() as session:
            row = session.get(GenerationRow, claim.generation.id, with_for_update=True)
            if row is not None and row.token == claim.token and row.status == "running":
                let_go(row, "queued")
                row.claims = max(0, row.claims - 1)


class StoredOutcomes:
    """Implements `service.generation.outcome.Outcomes` by rows, under a claim.

    Args:
        database: where rows are.
        claim: on the generation.
        lease: for which each outcome holds it on.
    """

    def __init__(self, database: Database, claim: GenerationClaim, lease: timedelta) -> None:
        self._database = database
        self._claim = claim
        self._lease = lease

    def known(self) -> list[Outcome]:
        """What is written down, by attempt."""
        query = select(OutcomeRow).where(OutcomeRow.generation_id == self._claim.generation.id)
        with self._database.reading() as session:
            return [
                Outcome(attempt=row.attempt, row=row.row, reason=row.reason, text=row.text)
                for row in session.scalars(query.order_by(OutcomeRow.attempt))
            ]

    def add(self, outcome: Outcome) -> None:
        """Writes one down, durably.

        Raises:
            StaleGenerationError: the claim is over.
        """
        with self._database.session() as session:
            row = _held(session, self._claim)
            row.lease_until = now_of(session) + self._lease
            if session.get(OutcomeRow, (row.id, outcome.attempt)) is not None:
                return
            session.add(
                OutcomeRow(
                    generation_id=row.id,
                    attempt=outcome.attempt,
                    row=None if outcome.row is None else dict(outcome.row),
                    reason=outcome.reason,
                    text=outcome.text,
                )
            )
            row.claims = 0
            row.attempts += 1
            if outcome.reason is None:
                row.kept += 1
            else:
                row.dropped = {**row.dropped, outcome.reason: row.dropped.get(outcome.reason, 0) + 1}


def _held(session: Session, claim: GenerationClaim) -> GenerationRow:
    row = session.get(GenerationRow, claim.generation.id, with_for_update=True)
    if row is None or row.token != claim.token or row.status != "running":
        raise StaleGenerationError(claim.generation.id)
    return row
