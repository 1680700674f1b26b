"""Every tenant's generations as they are asked for, read and ended; `claims` is the side of whoever does the work."""

import secrets

from sqlalchemy import func, select, tuple_

from service.generation.changes import find, generation_of, let_go
from service.generation.errors import GenerationStateError, TooManyGenerationsError
from service.generation.generation import ENDED, RESUMABLE, Generation, NewGeneration
from service.generation.tables import GenerationRow, OutcomeRow
from service.page import Page
from storage.clock import now_of
from storage.database import Database

MAX_OPEN = 20
"""Of a tenant, that wait or run."""


class Generations:
    """Creates, lists, cancels and resumes. Every method sees one tenant only; safe for threads and processes."""

    def __init__(self, database: Database, *, max_open: int = MAX_OPEN) -> None:
        self._database = database
        self._max_open = max_open

    def create(self, tenant: str, new: NewGeneration) -> Generation:
        """Lets a generation wait for a server; on return it is durable.

        Raises:
            TooManyGenerationsError: as many have not ended as may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"data generations of {tenant}")
            waiting = select(func.count()).where(GenerationRow.tenant == tenant, GenerationRow.status.not_in(ENDED))
            if (session.scalar(waiting) or 0) >= self._max_open:
                raise TooManyGenerationsError(self._max_open)
            row = GenerationRow(
                id=f"gen-{secrets.token_hex(12)}",
                tenant=tenant,
                status="queued",
                request=new.request.model_dump(mode="json"),
                model=new.model,
                digest=new.digest,
                judge=new.judge,
                base_digest=new.base_digest,
                created_at=now_of(session),
                kept=0,
                attempts=0,
                dropped={},
                token=0,
                claims=0,
            )
            session.add(row)
            session.flush()
            return generation_of(row)

    def get(self, tenant: str, generation_id: str) -> Generation:
        """One generation.

        Raises:
            UnknownGenerationError: the tenant has none of that id.
        """
        with self._database.reading() as session:
            return generation_of(find(session, tenant, generation_id))

    def list(self, tenant: str, *, after: str | None = None, limit: int = 20) -> Page[Generation]:
        """Generations, newest first, from the one after `after`.

        Raises:
            UnknownGenerationError: there is no generation `after`.
        """
        place = tuple_(GenerationRow.created_at, GenerationRow.id)
        query = select(GenerationRow).where(GenerationRow.tenant == tenant)
        with self._database.reading() as session:
            if after is not None:
                cursor = find(session, tenant, after)
                query = query.where(place < (cursor.created_at, cursor.id))
            query = query.order_by(GenerationRow.created_at.desc(), GenerationRow.id.desc()).limit(limit + 1)
            return Page.of([generation_of(row) for row in session.scalars(query)], limit)

    def dropped(self, tenant: str, generation_id: str, limit: int) -> tuple[str, ...]:
        """Texts that were dropped and why, the first ones.

        Raises:
            UnknownGenerationError: the tenant has none of that id.
        """
        with self._database.reading() as session:
            find(session, tenant, generation_id)
            query = select(OutcomeRow.text).where(OutcomeRow.generation_id == generation_id)
            query = query.where(OutcomeRow.reason.is_not(None)).order_by(OutcomeRow.attempt).limit(limit)
            return tuple(session.scalars(query))

    def cancel(self, tenant: str, generation_id: str) -> Generation:
        """Ends a generation; its rows stay, and it can be resumed.

        Raises:
            UnknownGenerationError: the tenant has none of that id.
            GenerationStateError: it has ended.
        """
        with self._database.session() as session:
            row = find(session, tenant, generation_id, for_update=True)
            if row.status in ENDED:
                raise GenerationStateError(generation_id, row.status, "cancelled")
            let_go(row, "cancelled")
            row.finished_at = now_of(session)
            return generation_of(row)

    def resume(self, tenant: str, generation_id: str) -> Generation:
        """Lets one that ended early wait again, with the rows it has.

        Raises:
            UnknownGenerationError: the tenant has none of that id.
            GenerationStateError: it runs, or has all its rows.
        """
        with self._database.session() as session:
            row = find(session, tenant, generation_id, for_update=True)
            if row.status not in RESUMABLE:
                raise GenerationStateError(generation_id, row.status, "resumed")
            # With rows but no file, such as when the store was full, the file is what it is resumed for.
            owes_file = row.kept > 0 and row.file_id is None
            if row.attempts >= generation_of(row).request.most_attempts and not owes_file:
                raise GenerationStateError(generation_id, "out of attempts", "resumed")
            let_go(row, "queued")
            row.finished_at = row.error = None
            row.claims = 0
            return generation_of(row)
