"""Movable names for versions, and the history that makes going back possible."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.errors import AliasMovedError, NoEarlierVersionError
from adapters.events import DELETE, ROLLBACK, SET, Happening, alias_events, remember
from adapters.rows import find_alias, find_version, version_rows
from adapters.tables import AdapterRow, AliasRow, EventRow, VersionRow
from adapters.version import Change

NOWHERE = 0
"""As `Move.expected`: the alias must not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """An alias that is to point elsewhere."""

    alias: str
    number: int
    """Version to point to."""
    expected: int | None = None
    """Where the caller thinks it points now, `NOWHERE` if it should not exist; None: wherever it does."""


def point(session: Session, adapter: AdapterRow, move: Move, change: Change) -> None:
    """Let an alias point to a version; pointing it where it already points records nothing.

    Raises:
        UnknownVersionError: there is no such version.
        AliasMovedError: it does not point where the caller expects.
    """
    version = find_version(session, adapter, move.number)
    row = session.get(AliasRow, (adapter.id, move.alias))
    before = None if row is None else session.get_one(VersionRow, row.version_id).number
    if move.expected is not None and (before or NOWHERE) != move.expected:
        raise AliasMovedError(adapter.name, move.alias, move.expected or None, before)
    if before == move.number:
        return
    if row is None:
        session.add(AliasRow(adapter_id=adapter.id, name=move.alias, version_id=version.id))
    else:
        row.version_id = version.id
    # Unflushed rows would not be found by a second move of the same alias.
    session.flush()
    happening = Happening(kind=SET, alias=move.alias, from_number=before, number=move.number)
    remember(session, adapter, happening, change)


def go_back(session: Session, adapter: AdapterRow, alias: str, change: Change) -> VersionRow:
    """Let an alias point to what it pointed to before; repeated, it goes further back.

    Raises:
        UnknownAliasError: there is no such alias.
        NoEarlierVersionError: it never pointed elsewhere, or only to versions that were deleted.
    """
    row = find_alias(session, adapter, alias)
    versions = {version.number: version for version in version_rows(session, adapter)}
    earlier = [number for number in _trail(alias_events(session, adapter, alias))[:-1] if number in versions]
    current = session.get_one(VersionRow, row.version_id)
    if not earlier:
        raise NoEarlierVersionError(
            f"alias {adapter.name}@{alias} points to version {current.number}, and to none before that still exists: "
            "set it to a version instead"
        )
    row.version_id = versions[earlier[-1]].id
    happening = Happening(kind=ROLLBACK, alias=alias, from_number=current.number, number=earlier[-1])
    remember(session, adapter, happening, change)
    return versions[earlier[-1]]


def remove(session: Session, adapter: AdapterRow, alias: str, change: Change) -> None:
    """Delete an alias; its history stays.

    Raises:
        UnknownAliasError: there is no such alias.
    """
    row = find_alias(session, adapter, alias)
    number = session.get_one(VersionRow, row.version_id).number
    session.delete(row)
    session.flush()
    remember(session, adapter, Happening(kind=DELETE, alias=alias, from_number=number), change)


def alias_rows(session: Session, adapter: AdapterRow) -> Sequence[AliasRow]:
    """An adapter's aliases, by name."""
    query = select(AliasRow).where(AliasRow.adapter_id == adapter.id).order_by(AliasRow.name)
    return session.scalars(query).all()


def _trail(moves: Sequence[EventRow]) -> list[int]:
    """The versions an alias would go back through, the current one last: a rollback takes back what it undid."""
    trail: list[int] = []
    for move in moves:
        if move.number is None:
            trail.clear()
        elif move.kind == ROLLBACK:
            while trail and trail[-1] != move.number:
                trail.pop()
        else:
            trail.append(move.number)
    return trail
