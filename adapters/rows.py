"""Queries over the adapter tables; every one is bound to a tenant or to a row already found for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.errors import UnknownAdapterError, UnknownAliasError, UnknownVersionError
from adapters.reference import Reference
from adapters.tables import READY, AdapterRow, AliasRow, VersionRow


@dataclass(frozen=True, kw_only=True)
class TenantRows:
    """All of a tenant's adapters, in three queries however many there are."""

    adapters: Sequence[AdapterRow]
    """By name."""
    versions: Mapping[int, list[VersionRow]]
    """Adapter id to versions, newest first."""
    aliases: Mapping[int, tuple[str, ...]]
    """Version id to the aliases that point to it."""


def tenant_rows(session: Session, tenant: str) -> TenantRows:
    """Read all of a tenant's adapters."""
    ids = select(AdapterRow.id).where(AdapterRow.tenant == tenant)
    versions: dict[int, list[VersionRow]] = {}
    in_order = select(VersionRow).where(VersionRow.adapter_id.in_(ids)).order_by(VersionRow.number.desc())
    for row in session.scalars(in_order):
        versions.setdefault(row.adapter_id, []).append(row)
    return TenantRows(
        adapters=session.scalars(select(AdapterRow).where(AdapterRow.tenant == tenant).order_by(AdapterRow.name)).all(),
        versions=versions,
        aliases=by_version(session.scalars(select(AliasRow).where(AliasRow.adapter_id.in_(ids))).all()),
    )


def by_version(rows: Sequence[AliasRow]) -> dict[int, tuple[str, ...]]:
    """Version id to the aliases that point to it, sorted."""
    names: dict[int, list[str]] = {}
    for row in rows:
        names.setdefault(row.version_id, []).append(row.name)
    return {version_id: tuple(sorted(found)) for version_id, found in names.items()}


def find_adapter(session: Session, tenant: str, name: str) -> AdapterRow:
    """The row of an adapter that has versions.

    Raises:
        UnknownAdapterError: with the nearest names of this tenant, and of no other.
    """
    adapter = adapter_row(session, tenant, name)
    if adapter is None or not version_rows(session, adapter):
        known = session.scalars(
            select(AdapterRow.name).where(AdapterRow.tenant == tenant, AdapterRow.id.in_(select(VersionRow.adapter_id)))
        )
        raise UnknownAdapterError(name, known)
    return adapter


def adapter_row(session: Session, tenant: str, name: str) -> AdapterRow | None:
    """The row of a name, also when all its versions were deleted."""
    return session.scalar(select(AdapterRow).where(AdapterRow.tenant == tenant, AdapterRow.name == name))


def version_rows(session: Session, adapter: AdapterRow) -> Sequence[VersionRow]:
    """An adapter's versions, newest first."""
    query = select(VersionRow).where(VersionRow.adapter_id == adapter.id).order_by(VersionRow.number.desc())
    return session.scalars(query).all()


def find_version(session: Session, adapter: AdapterRow, number: int) -> VersionRow:
    """One version by number.

    Raises:
        UnknownVersionError: it was deleted or never existed; the message names those that do.
    """
    rows = version_rows(session, adapter)
    for row in rows:
        if row.number == number:
            return row
    shown = ", ".join(str(row.number) for row in rows[:5])
    raise UnknownVersionError(f"adapter {adapter.name!r} has no version {number}; the newest are {shown}")


def find_alias(session: Session, adapter: AdapterRow, alias: str) -> AliasRow:
    """One alias by name.

    Raises:
        UnknownAliasError: with the nearest aliases of this adapter.
    """
    row = session.get(AliasRow, (adapter.id, alias))
    if row is None:
        known = session.scalars(select(AliasRow.name).where(AliasRow.adapter_id == adapter.id))
        raise UnknownAliasError(adapter.name, alias, known)
    return row


def resolve_row(session: Session, adapter: AdapterRow, reference: Reference) -> VersionRow:
    """The version a reference means.

    Raises:
        UnknownVersionError: no such number or checkpoint, or no version is ready.
        UnknownAliasError: no such alias.
    """
    if reference.number is not None:
        return find_version(session, adapter, reference.number)
    if reference.alias is not None:
        return session.get_one(VersionRow, find_alias(session, adapter, reference.alias).version_id)
    if reference.checkpoint_step is not None:
        raise UnknownVersionError(f"adapter {adapter.name!r} has no published checkpoint {reference.checkpoint_step}")
    for row in version_rows(session, adapter):
        if row.state == READY:
            return row
    raise UnknownVersionError(f"adapter {adapter.name!r} has no version that is ready")
