"""Where a version comes from: the data, the job, and the versions that training began with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.reference import Reference
from adapters.registry import Registry
from adapters.tables import AdapterRow, CheckpointRow, VersionRow
from adapters.version import Version

INIT_FROM, INIT_DIGEST = "init_from", "init_digest"
"""Keys of a version's lineage: what training began with, as it was named then, and its digest."""
MAX_GENERATIONS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """What training began with, in place of matrices of its own."""

    name: str
    """As it was named then; it may mean something else now."""
    digest: str
    version: Version | None
    """What the tenant has of this content now; None: it was deleted, or never was in the registry."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What is known of where a version comes from."""

    version: Version
    data: tuple[Mapping[str, JsonValue], ...]
    """Each file with its digest and weight, or its id alone; as far as it was told."""
    ancestors: tuple[Ancestor, ...]
    """The parent first, then the parent's."""


def lineage(registry: Registry, tenant: str, reference: Reference | str) -> Lineage:
    """Follow a version back to what it was made from; within the tenant's own adapters only.

    Raises:
        AdapterError: the reference means nothing.
    """
    version = registry.resolve(tenant, reference)
    with registry.database.reading() as session:
        ancestors = tuple(_ancestors(registry, session, version))
    return Lineage(
        version=version,
        data=tuple(_data(version.lineage)),
        ancestors=ancestors,
    )


def _data(told: Mapping[str, JsonValue]) -> Iterator[Mapping[str, JsonValue]]:
    for key in ("data", "files"):
        files = told.get(key)
        for file in files if isinstance(files, list) else ():
            if isinstance(file, dict):
                yield file
            elif isinstance(file, str):
                yield {"id": file}


def _ancestors(registry: Registry, session: Session, version: Version | None) -> Iterator[Ancestor]:
    seen: set[str] = set()
    while version is not None and len(seen) < MAX_GENERATIONS:
        digest = version.lineage.get(INIT_DIGEST)
        # An imported lineage may say anything, a circle too.
        if not isinstance(digest, str) or digest in seen:
            return
        seen.add(digest)
        parent = _by_digest(registry, session, version.tenant, digest)
        yield Ancestor(name=str(version.lineage.get(INIT_FROM, "")), digest=digest, version=parent)
        version = parent


def _by_digest(registry: Registry, session: Session, tenant: str, digest: str) -> Version | None:
    mine = select(AdapterRow.id).where(AdapterRow.tenant == tenant)
    version = select(VersionRow).where(VersionRow.adapter_id.in_(mine), VersionRow.digest == digest)
    checkpoint = select(CheckpointRow).where(CheckpointRow.adapter_id.in_(mine), CheckpointRow.digest == digest)
    row: VersionRow | CheckpointRow | None = session.scalar(version.order_by(VersionRow.id).limit(1))
    row = row or session.scalar(checkpoint.order_by(CheckpointRow.id).limit(1))
    return None if row is None else registry.version(session, session.get_one(AdapterRow, row.adapter_id), row)
