"""Queries over the adapter tables; every one is bound to a tenant or to a row already found for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from adapters.errors import UnknownAdapterError, UnknownAliasError, UnknownVersionError
from adapters.reference import Reference
from adapters.tables import READY, AdapterRow, AliasRow, CheckpointRow, PinRow, TagRow, VersionRow


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What people have attached to a version."""

    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    pinned: bool = False


UNMARKED = Marks()


@dataclass(frozen=True, kw_only=True)
class AdapterRows:
    """Adapters with all that stands behind them, in as many queries however many there are."""

    adapters: Sequence[AdapterRow]
    versions: Mapping[int, list[VersionRow]]
    """Adapter id to versions, newest first."""
    marks: Mapping[int, Marks]
    """Version id to what is attached to it."""


def rows_behind(session: Session, adapters: Sequence[AdapterRow]) -> AdapterRows:
    """Read all that stands behind some adapters."""
    ids = [adapter.id for adapter in adapters]
    versions: dict[int, list[VersionRow]] = {}
    in_order = select(VersionRow).where(VersionRow.adapter_id.in_(ids)).order_by(VersionRow.number.desc())
    for row in session.scalars(in_order):
        versions.setdefault(row.adapter_id, []).append(row)
    of_them = select(VersionRow.id).where(VersionRow.adapter_id.in_(ids))
    return AdapterRows(adapters=adapters, versions=versions, marks=marks(session, of_them))


def marks(session: Session, version_ids: Select[int]) -> dict[int, Marks]:
    """What is attached to some versions; those without anything are left out."""
    aliases: dict[int, list[str]] = {}
    for alias in session.scalars(select(AliasRow).where(AliasRow.version_id.in_(version_ids)).order_by(AliasRow.name)):
        aliases.setdefault(alias.version_id, []).append(alias.name)
    tags: dict[int, dict[str, str]] = {}
    for tag in session.scalars(select(TagRow).where(TagRow.version_id.in_(version_ids)).order_by(TagRow.key)):
        tags.setdefault(tag.version_id, {})[tag.key] = tag.value
    pinned = set(session.scalars(select(PinRow.version_id).where(PinRow.version_id.in_(version_ids))))
    return {
        version_id: Marks(
            aliases=tuple(aliases.get(version_id, ())), tags=tags.get(version_id, {}), pinned=version_id in pinned
        )
        for version_id in {*aliases, *tags, *pinned}
    }


def find_adapter(session: Session, tenant: str, name: str) -> AdapterRow:
    """The row of an adapter that has versions or checkpoints.

    Raises:
        UnknownAdapterError: with the nearest names of this tenant, and of no other.
    """
    live = or_(AdapterRow.id.in_(select(VersionRow.adapter_id)), AdapterRow.id.in_(select(CheckpointRow.adapter_id)))
    mine = select(AdapterRow).where(AdapterRow.tenant == tenant, live)
    adapter = session.scalar(mine.where(AdapterRow.name == name))
    if adapter is None:
        raise UnknownAdapterError(name, [row.name for row in session.scalars(mine)])
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
    row = session.scalar(select(VersionRow).where(VersionRow.adapter_id == adapter.id, VersionRow.number == number))
    if row is None:
        shown = ", ".join(str(each.number) for each in version_rows(session, adapter)[:5]) or "none yet"
        raise UnknownVersionError(f"adapter {adapter.name!r} has no version {number}; the newest are {shown}")
    return row


def newest_ready(session: Session, adapter: AdapterRow) -> VersionRow | None:
    """The version that a bare name means."""
    ready = select(VersionRow).where(VersionRow.adapter_id == adapter.id, VersionRow.state == READY)
    return session.scalar(ready.order_by(VersionRow.number.desc()).limit(1))


def checkpoint_rows(session: Session, adapter: AdapterRow) -> Sequence[CheckpointRow]:
    """An adapter's checkpoints, newest step first."""
    query = select(CheckpointRow).where(CheckpointRow.adapter_id == adapter.id).order_by(CheckpointRow.step.desc())
    return session.scalars(query).all()


def num_users(session: Session, digest: str) -> int:
    """How many versions and checkpoints of any tenant have this content."""
    counts = (
        session.scalar(select(func.count()).select_from(table).where(table.digest == digest))
        for table in (VersionRow, CheckpointRow)
    )
    return sum(count or 0 for count in counts)


def needed_digests(session: Session) -> set[str]:
    """The contents that versions and checkpoints of any tenant have."""
    return {*session.scalars(select(VersionRow.digest)), *session.scalars(select(CheckpointRow.digest))}


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


def resolve_row(session: Session, adapter: AdapterRow, reference: Reference) -> VersionRow | CheckpointRow:
    """The version or checkpoint a reference means.

    Raises:
        UnknownVersionError: no such number or checkpoint, or no version is ready.
        UnknownAliasError: no such alias.
    """
    if reference.checkpoint_step is not None:
        return _find_checkpoint(session, adapter, reference.checkpoint_step)
    if reference.number is not None:
        return find_version(session, adapter, reference.number)
    if reference.alias is not None:
        return session.get_one(VersionRow, find_alias(session, adapter, reference.alias).version_id)
    row = newest_ready(session, adapter)
    if row is None:
        raise UnknownVersionError(f"adapter {adapter.name!r} has no version that is ready")
    return row


def _find_checkpoint(session: Session, adapter: AdapterRow, step: int) -> CheckpointRow:
    rows = checkpoint_rows(session, adapter)
    for row in rows:
        if row.step == step:
            return row
    shown = ", ".join(str(row.step) for row in rows[:5]) or "none"
    raise UnknownVersionError(
        f"adapter {adapter.name!r} has no published checkpoint {step}; the newest steps are {shown}"
    )
