"""Versions that every server loads when it starts, before it is ready."""

from datetime import UTC, datetime

from sqlalchemy import select

from adapters.events import PIN, UNPIN, Happening, remember
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.rows import find_adapter, find_version, version_rows
from adapters.tables import AdapterRow, PinRow, VersionRow
from adapters.version import Change, Version


def pin(registry: Registry, tenant: str, reference: Reference, change: Change) -> Version:
    """Let every server load a version when it starts; a pin that is there stays.

    Raises:
        UnknownAdapterError, UnknownVersionError: there is nothing of that name, or it is a checkpoint.
    """
    version = registry.resolve(tenant, reference)
    with registry.writing() as session:
        adapter = find_adapter(session, tenant, version.name)
        row = find_version(session, adapter, version.number or 0)
        if session.get(PinRow, row.id) is None:
            session.add(PinRow(version_id=row.id, at=datetime.now(UTC)))
            session.flush()
            remember(session, adapter, Happening(kind=PIN, number=row.number), change)
        return registry.version(session, adapter, row)


def unpin(registry: Registry, tenant: str, name: str, number: int | None, change: Change) -> list[Version]:
    """Take the pin off a version, or off all versions of an adapter.

    Returns:
        The versions that were pinned until now.

    Raises:
        UnknownAdapterError, UnknownVersionError: there is nothing of that name.
    """
    with registry.writing() as session:
        adapter = find_adapter(session, tenant, name)
        rows = version_rows(session, adapter) if number is None else [find_version(session, adapter, number)]
        unpinned = []
        for row in rows:
            found = session.get(PinRow, row.id)
            if found is not None:
                session.delete(found)
                session.flush()
                remember(session, adapter, Happening(kind=UNPIN, number=row.number), change)
                unpinned.append(registry.version(session, adapter, row))
        return unpinned


def pinned(registry: Registry) -> list[Version]:
    """The pinned versions of every tenant, the longest pinned first: a server has one set of slots for all."""
    query = select(VersionRow).join(PinRow, PinRow.version_id == VersionRow.id).order_by(PinRow.at, VersionRow.id)
    with registry.database.reading() as session:
        return [
            registry.version(session, session.get_one(AdapterRow, row.adapter_id), row)
            for row in session.scalars(query)
        ]
