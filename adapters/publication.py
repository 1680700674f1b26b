"""Adding a version: stage, validate, digest, flush, then one transaction that makes folder and row visible."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.base_facts import BaseFacts
from adapters.digest import adapter_digest, folder_key
from adapters.files import ADAPTER_FILES, MANIFEST, MAX_BYTES, open_plain
from adapters.reference import check_name
from adapters.registry import Registry
from adapters.rows import adapter_row
from adapters.tables import READY, AdapterRow, VersionRow
from adapters.validation import CheckedAdapter, validate
from adapters.version import Version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An adapter folder to be published."""

    tenant: str
    name: str
    folder: Path
    """Holds the three files (`lorad.json` may be missing); it is copied, and may be removed afterwards."""
    source: str
    """How it came: `import`, `train`, …; at most 64 characters."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Added to those of the manifest."""
    lineage: Mapping[str, JsonValue] = field(default_factory=dict)
    """What it was made from: job, data, parent."""


def publish(registry: Registry, submission: Submission, base: BaseFacts) -> Version:
    """Check an adapter folder and add it as the next version of its name.

    The same content under the same name gives the version that exists. A process killed anywhere leaves the registry as
    it was: at worst a complete folder without a row, which the next publication of that content takes over.

    Raises:
        InvalidNameError: the name is not well formed.
        InvalidAdapterError: the folder is malformed or does not fit the base.
        BaseMismatchError: the manifest names another base.
    """
    check_name(submission.name)
    with registry.folders.stage() as staged:
        _copy(submission.folder, staged)
        checked = validate(staged, base)
        for warning in checked.warnings:
            _log.warning("adapter %s: %s", submission.name, warning)
        if not (staged / MANIFEST).exists():
            checked.manifest.write(staged)
        digest = adapter_digest(staged)
        size_bytes = sum((staged / name).stat().st_size for name in ADAPTER_FILES)
        registry.folders.seal(staged)
        with registry.writing() as session:
            registry.folders.publish(staged, folder_key(digest))
            adapter = _adapter(session, submission)
            row = _existing(session, adapter, digest)
            if row is None:
                row = _new_version(adapter, digest, size_bytes, checked, submission)
                session.add(row)
            session.flush()
            return registry.version(session, adapter, row)


def _copy(folder: Path, staged: Path) -> None:
    """Copy only the three files: whatever else lies in a trainer's folder stays there."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_symlink() and not (folder / name).exists():
            continue
        with open_plain(folder / name, MAX_BYTES[name]) as source, (staged / name).open("xb") as target:
            shutil.copyfileobj(source, target, length=1 << 20)


def _adapter(session: Session, submission: Submission) -> AdapterRow:
    adapter = adapter_row(session, submission.tenant, submission.name)
    if adapter is None:
        adapter = AdapterRow(
            tenant=submission.tenant, name=submission.name, next_number=1, created_at=datetime.now(UTC)
        )
        session.add(adapter)
        session.flush()
    return adapter


def _existing(session: Session, adapter: AdapterRow, digest: str) -> VersionRow | None:
    return session.scalar(select(VersionRow).where(VersionRow.adapter_id == adapter.id, VersionRow.digest == digest))


def _new_version(
    adapter: AdapterRow, digest: str, size_bytes: int, checked: CheckedAdapter, submission: Submission
) -> VersionRow:
    number = adapter.next_number
    adapter.next_number = number + 1
    return VersionRow(
        adapter_id=adapter.id,
        number=number,
        digest=digest,
        base_digest=checked.manifest.base.digest,
        base_name=checked.manifest.base.name,
        rank=checked.config.max_rank,
        size_bytes=size_bytes,
        state=READY,
        created_at=datetime.now(UTC),
        source=submission.source,
        metrics={**checked.manifest.metrics, **submission.metrics},
        lineage=dict(submission.lineage),
    )
