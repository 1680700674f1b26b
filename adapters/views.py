"""Rows as callers of the registry see them."""

from collections.abc import Mapping, Sequence

from adapters.digest import folder_key
from adapters.rows import UNMARKED, Marks
from adapters.tables import READY, AdapterRow, CheckpointRow, VersionRow
from adapters.version import Adapter, Version
from storage.folders import FolderStore


def version_of(folders: FolderStore, adapter: AdapterRow, row: VersionRow, marks: Mapping[int, Marks]) -> Version:
    """A numbered version."""
    mine = marks.get(row.id, UNMARKED)
    return Version(
        tenant=adapter.tenant,
        name=adapter.name,
        number=row.number,
        digest=row.digest,
        base_digest=row.base_digest,
        base_name=row.base_name,
        rank=row.rank,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        source=row.source,
        job_id=row.job_id,
        data_digest=row.data_digest,
        metrics=row.metrics,
        lineage=row.lineage,
        aliases=mine.aliases,
        tags=mine.tags,
        pinned=mine.pinned,
        path=folders.place(folder_key(row.digest)),
    )


def checkpoint_of(folders: FolderStore, adapter: AdapterRow, row: CheckpointRow) -> Version:
    """A checkpoint, which no alias, tag or pin can be attached to."""
    return Version(
        tenant=adapter.tenant,
        name=adapter.name,
        number=None,
        checkpoint_step=row.step,
        digest=row.digest,
        base_digest=row.base_digest,
        base_name=row.base_name,
        rank=row.rank,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        source="checkpoint",
        job_id=row.job_id,
        data_digest=row.data_digest,
        metrics=row.metrics,
        lineage=row.lineage,
        aliases=(),
        tags={},
        pinned=False,
        path=folders.place(folder_key(row.digest)),
    )


def adapter_of(
    folders: FolderStore, row: AdapterRow, versions: Sequence[VersionRow], marks: Mapping[int, Marks]
) -> Adapter | None:
    """An adapter, or None where no version is ready."""
    latest = next((version for version in versions if version.state == READY), None)
    if latest is None:
        return None
    seen = {version.id: version_of(folders, row, version, marks) for version in versions}
    return Adapter(
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at,
        num_versions=len(versions),
        versions=tuple(seen.values()),
        latest=seen[latest.id],
        aliases={alias: version.number for version in versions for alias in seen[version.id].aliases},
        keep_versions=row.keep_versions,
    )
