"""Which versions are kept: the newest few, and whatever somebody relies on."""

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy.orm import Session

from adapters.errors import AdapterError
from adapters.events import KEEP, PRUNE, Happening, remember
from adapters.registry import Registry
from adapters.rows import UNMARKED, checkpoint_rows, find_adapter, rows_behind
from adapters.tables import READY, AdapterRow, CheckpointRow, VersionRow
from adapters.version import Change, Version

MAX_KEEP = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is to be kept of one adapter."""

    default: int | None
    """Versions to keep where the adapter has no number of its own; None: all."""
    in_use: Collection[str] = ()
    """Digests of what is being answered with."""
    keep: int | None = None
    """Instead of the adapter's own number and the default."""
    checkpoints: bool = False
    """Whether its checkpoints go as well."""
    dry_run: bool = False
    """Only say what would go."""


def prune(registry: Registry, tenant: str, name: str, retention: Retention, change: Change) -> list[Version]:
    """Delete the versions that are older than the newest few, save those somebody relies on.

    An alias, a pin and a running answer each keep a version, and the newest ready one is never deleted.

    Returns:
        What was deleted, or would be: newest first, checkpoints after versions.

    Raises:
        UnknownAdapterError: there is none of that name.
        AdapterError: the number is less than 1.
    """
    if retention.keep is not None:
        _check_keep(retention.keep)
    with registry.database.reading() if retention.dry_run else registry.writing() as session:
        adapter = find_adapter(session, tenant, name)
        rows: list[VersionRow | CheckpointRow] = [*_superfluous(session, adapter, retention)]
        if retention.checkpoints:
            rows += [row for row in checkpoint_rows(session, adapter) if row.digest not in retention.in_use]
        pruned = [registry.version(session, adapter, row) for row in rows]
        if not retention.dry_run:
            for row in rows:
                session.delete(row)
            _remember(session, adapter, pruned, change)
    if not retention.dry_run:
        registry.collect([version.digest for version in pruned])
    return pruned


def set_keep(registry: Registry, tenant: str, name: str, keep: int | None, change: Change) -> None:
    """Set how many versions of one adapter are kept; None: as many as the settings say.

    Raises:
        UnknownAdapterError: there is none of that name.
        AdapterError: the number is not in 1..1000000.
    """
    if keep is not None:
        _check_keep(keep)
    with registry.writing() as session:
        adapter = find_adapter(session, tenant, name)
        if adapter.keep_versions != keep:
            adapter.keep_versions = keep
            remember(session, adapter, Happening(kind=KEEP, details={"keep": keep}), change)


def _superfluous(session: Session, adapter: AdapterRow, retention: Retention) -> list[VersionRow]:
    keep = retention.keep or adapter.keep_versions or retention.default
    if keep is None:
        return []
    behind = rows_behind(session, [adapter])
    rows = behind.versions.get(adapter.id, [])
    newest_ready = next((row for row in rows if row.state == READY), None)

    def relied_on(row: VersionRow) -> bool:
        marks = behind.marks.get(row.id, UNMARKED)
        return row is newest_ready or bool(marks.aliases) or marks.pinned or row.digest in retention.in_use

    return [row for row in rows[keep:] if not relied_on(row)]


def _remember(session: Session, adapter: AdapterRow, pruned: list[Version], change: Change) -> None:
    for version in pruned:
        details: dict[str, JsonValue] = {"digest": version.digest}
        if version.checkpoint_step is not None:
            details["checkpoint_step"] = version.checkpoint_step
        happening = Happening(kind=PRUNE, number=version.number, job_id=version.job_id, details=details)
        remember(session, adapter, happening, change)


def _check_keep(keep: int) -> None:
    if not 1 <= keep <= MAX_KEEP:
        raise AdapterError(f"keep {keep} is not in 1..{MAX_KEEP}: the newest version is never deleted")
