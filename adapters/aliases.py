"""Movable names for versions, and the history that makes going back possible."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.errors import NoEarlierVersionError
from adapters.rows import find_alias, find_version, version_rows
from adapters.tables import AdapterRow, AliasEventRow, AliasRow, VersionRow
from adapters.version import Change

SET, ROLLBACK, DELETE = "set", "rollback", "delete"


def point(session: Session, adapter: AdapterRow, alias: str, number: int, change: Change) -> None:
    """Let an alias point to a version; pointing it where it already points records nothing.

    Raises:
        UnknownVersionError: there is no such version.
    """
    version = find_version(session, adapter, number)
    row = session.get(AliasRow, (adapter.id, alias))
    if row is None:
        session.add(AliasRow(adapter_id=adapter.id, name=alias, version_id=version.id))
        _record(session, _event(adapter, alias, SET, change), None, number)
    elif row.version_id != version.id:
        before = session.get_one(VersionRow, row.version_id).number
        row.version_id = version.id
        _record(session, _event(adapter, alias, SET, change), before, number)


def go_back(session: Session, adapter: AdapterRow, alias: str, change: Change) -> VersionRow:
    """Let an alias point to what it pointed to before; repeated, it goes further back.

    Raises:
        UnknownAliasError: there is no such alias.
        NoEarlierVersionError: it never pointed elsewhere, or only to versions that were deleted.
    """
    row = find_alias(session, adapter, alias)
    versions = {version.number: version for version in version_rows(session, adapter)}
    earlier = [number for number in _trail(events(session, adapter, alias))[:-1] if number in versions]
    current = session.get_one(VersionRow, row.version_id)
    if not earlier:
        raise NoEarlierVersionError(
            f"alias {adapter.name}@{alias} points to version {current.number}, and to none before that still exists: "
            "set it to a version instead"
        )
    row.version_id = versions[earlier[-1]].id
    _record(session, _event(adapter, alias, ROLLBACK, change), current.number, earlier[-1])
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
    _record(session, _event(adapter, alias, DELETE, change), number, None)


def alias_rows(session: Session, adapter: AdapterRow) -> Sequence[AliasRow]:
    """An adapter's aliases, by name."""
    query = select(AliasRow).where(AliasRow.adapter_id == adapter.id).order_by(AliasRow.name)
    return session.scalars(query).all()


def events(session: Session, adapter: AdapterRow, alias: str) -> Sequence[AliasEventRow]:
    """Every move of an alias, oldest first."""
    query = (
        select(AliasEventRow)
        .where(AliasEventRow.adapter_id == adapter.id, AliasEventRow.alias == alias)
        .order_by(AliasEventRow.id)
    )
    return session.scalars(query).all()


def _trail(moves: Sequence[AliasEventRow]) -> list[int]:
    """The versions an alias would go back through, the current one last: a rollback takes back what it undid."""
    trail: list[int] = []
    for move in moves:
        if move.to_number is None:
            trail.clear()
        elif move.kind == ROLLBACK:
            while trail and trail[-1] != move.to_number:
                trail.pop()
        else:
            trail.append(move.to_number)
    return trail


def _event(adapter: AdapterRow, alias: str, kind: str, change: Change) -> AliasEventRow:
    return AliasEventRow(
        adapter_id=adapter.id,
        alias=alias,
        kind=kind,
        at=datetime.now(UTC),
        actor=change.actor,
        reason=change.reason,
    )


def _record(session: Session, event: AliasEventRow, before: int | None, after: int | None) -> None:
    event.from_number = before
    event.to_number = after
    session.add(event)
