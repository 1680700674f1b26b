"""The history of an adapter: what happened, when, by whom, why, and from which job. It outlives the versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.tables import AdapterRow, EventRow
from adapters.version import Change, Event

SET, ROLLBACK, DELETE = "set", "rollback", "delete"
"""Moves of an alias."""
REFUSE: Final = "refuse"
"""A gate did not let the alias move to the version."""
PUBLISH, REMOVE, PRUNE = "publish", "remove", "prune"
"""Of versions: added, deleted by somebody, deleted by retention."""
CHECKPOINTS: Final = "checkpoints"
"""A job began to publish its checkpoints under the name; those of the job before are gone."""
TAG, UNTAG, PIN, UNPIN, KEEP = "tag", "untag", "pin", "unpin", "keep"
KINDS: Final = (SET, ROLLBACK, DELETE, REFUSE, PUBLISH, REMOVE, PRUNE, CHECKPOINTS, TAG, UNTAG, PIN, UNPIN, KEEP)

MAX_ACTOR_CHARS = 128


@dataclass(frozen=True, kw_only=True)
class Happening:
    """What is to be remembered, beside who and why."""

    kind: str
    number: int | None = None
    alias: str | None = None
    from_number: int | None = None
    job_id: str | None = None
    details: Mapping[str, JsonValue] = field(default_factory=dict)


def remember(session: Session, adapter: AdapterRow, happening: Happening, change: Change) -> None:
    """Add an event to an adapter's history, in the transaction that makes it true."""
    session.add(
        EventRow(
            adapter_id=adapter.id,
            kind=happening.kind,
            at=datetime.now(UTC),
            actor=change.actor[:MAX_ACTOR_CHARS],
            reason=change.reason,
            alias=happening.alias,
            from_number=happening.from_number,
            number=happening.number,
            job_id=happening.job_id,
            details={**happening.details, **change.details},
        )
    )


def alias_events(session: Session, adapter: AdapterRow, alias: str) -> Sequence[EventRow]:
    """Every move of an alias, oldest first."""
    moved = EventRow.kind.in_((SET, ROLLBACK, DELETE))
    query = select(EventRow).where(EventRow.adapter_id == adapter.id, EventRow.alias == alias, moved)
    return session.scalars(query.order_by(EventRow.id)).all()


def recent_events(
    session: Session, adapter: AdapterRow, limit: int, before: int | None = None, alias: str | None = None
) -> Sequence[EventRow]:
    """An adapter's events, newest first; those older than event `before`, or about one alias only."""
    query = select(EventRow).where(EventRow.adapter_id == adapter.id)
    if alias is not None:
        query = query.where(EventRow.alias == alias)
    if before is not None:
        query = query.where(EventRow.id < before)
    return session.scalars(query.order_by(EventRow.id.desc()).limit(limit)).all()


def event_of(row: EventRow) -> Event:
    """A row as callers see it."""
    return Event(
        id=row.id,
        kind=row.kind,
        at=row.at,
        actor=row.actor,
        reason=row.reason,
        alias=row.alias,
        from_number=row.from_number,
        number=row.number,
        job_id=row.job_id,
        details=row.details,
    )
