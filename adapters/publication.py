"""Adding a version: stage, validate, digest, flush, then one transaction that makes folder and row visible."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.base_facts import BaseFacts
from adapters.checkpoints import Content, add_checkpoint
from adapters.digest import adapter_digest, folder_key
from adapters.events import PUBLISH, Happening, remember
from adapters.files import ADAPTER_FILES, MANIFEST, MAX_BYTES, open_plain
from adapters.reference import check_name
from adapters.registry import Registry
from adapters.rows import adapter_row
from adapters.tables import READY, AdapterRow, CheckpointRow, TagRow, VersionRow
from adapters.tags import checked_tags
from adapters.validation import validate
from adapters.version import Change, Version

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
    """What it was made from: data, parent, where it was exported."""
    job_id: str | None = None
    """The job that made it: published twice, it gives the same version."""
    tags: Mapping[str, str] = field(default_factory=dict)
    change: Change = field(default_factory=Change)
    """Who publishes, and why."""
    guard: Callable[[Session], None] = lambda _session: None
    """Called first in the transaction that publishes; what it raises leaves everything as it was."""


def publish(registry: Registry, submission: Submission, base: BaseFacts) -> Version:
    """Check an adapter folder and add it as the next version of its name.

    The same content under the same name gives the version that exists, and so does the same job. A process killed
    anywhere leaves the registry as it was: at worst a complete folder without a row, which the next publication of that
    content takes over.

    Raises:
        InvalidNameError: the name is not well formed.
        InvalidAdapterError: the folder is malformed or does not fit the base.
        BaseMismatchError: the manifest names another base.
        InvalidTagError: a tag is not well formed.
    """
    checked_tags(submission.tags)

    def add(session: Session, adapter: AdapterRow, content: Content) -> VersionRow:
        row = _existing(session, adapter, content.digest, submission.job_id)
        return row or _add_version(session, adapter, content, submission)

    return _publish(registry, submission, base, add)


def publish_checkpoint(registry: Registry, submission: Submission, base: BaseFacts, step: int) -> Version:
    """As `publish`, for what a job has learnt so far: `name:ckpt-step-N` answers from now on, and no list shows it.

    The first checkpoint of a job takes the place of those of the job before. One that the job publishes again, after it
    was resumed from an earlier step, replaces its own.

    Args:
        registry: where to.
        submission: with a `job_id`; its tags are not used.
        base: what it was trained on.
        step: optimiser steps so far.

    Raises:
        InvalidNameError, InvalidAdapterError, BaseMismatchError: as in `publish`.
        SupersededJobError: a newer job publishes its checkpoints under this name.
    """
    job_id = submission.job_id
    if job_id is None:
        raise ValueError("a checkpoint belongs to a job: give the submission a job_id")
    replaced: list[str] = []

    def add(session: Session, adapter: AdapterRow, content: Content) -> CheckpointRow:
        row, gone = add_checkpoint(session, adapter, content, job_id, step, submission.change)
        replaced.extend(gone)
        return row

    version = _publish(registry, submission, base, add)
    registry.collect(replaced)
    return version


def _publish(
    registry: Registry,
    submission: Submission,
    base: BaseFacts,
    add: Callable[[Session, AdapterRow, Content], VersionRow | CheckpointRow],
) -> Version:
    check_name(submission.name)
    with registry.folders.stage() as staged:
        content = _staged_content(submission, staged, base)
        registry.folders.seal(staged)
        with registry.writing() as session:
            submission.guard(session)
            registry.folders.publish(staged, folder_key(content.digest))
            adapter = _adapter(session, submission)
            row = add(session, adapter, content)
            session.flush()
            return registry.version(session, adapter, row)


def _staged_content(submission: Submission, staged: Path, base: BaseFacts) -> Content:
    """Copies and checks the folder; gives what its row tells."""
    _copy(submission.folder, staged)
    checked = validate(staged, base)
    for warning in checked.warnings:
        _log.warning("adapter %s: %s", submission.name, warning)
    manifest = checked.manifest
    if not (staged / MANIFEST).exists():
        manifest.write(staged)
    return Content(
        digest=adapter_digest(staged),
        data_digest=None if manifest.data is None else manifest.data.digest,
        base_digest=manifest.base.digest,
        base_name=manifest.base.name,
        rank=checked.config.max_rank,
        size_bytes=sum((staged / name).stat().st_size for name in ADAPTER_FILES),
        metrics={**manifest.metrics, **submission.metrics},
        lineage=dict(submission.lineage),
    )


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


def _existing(session: Session, adapter: AdapterRow, digest: str, job_id: str | None) -> VersionRow | None:
    mine = select(VersionRow).where(VersionRow.adapter_id == adapter.id)
    by_job = None if job_id is None else session.scalar(mine.where(VersionRow.job_id == job_id))
    return by_job or session.scalar(mine.where(VersionRow.digest == digest))


def _add_version(session: Session, adapter: AdapterRow, content: Content, submission: Submission) -> VersionRow:
    number = adapter.next_number
    adapter.next_number = number + 1
    row = VersionRow(
        adapter_id=adapter.id,
        number=number,
        state=READY,
        created_at=datetime.now(UTC),
        source=submission.source,
        job_id=submission.job_id,
        **content.columns(),
    )
    session.add(row)
    session.flush()
    session.add_all(TagRow(version_id=row.id, key=key, value=value) for key, value in submission.tags.items())
    details: dict[str, JsonValue] = {
        "digest": content.digest,
        "data_digest": content.data_digest,
        "source": submission.source,
        "metrics": dict(content.metrics),
    }
    happening = Happening(kind=PUBLISH, number=number, job_id=submission.job_id, details=details)
    remember(session, adapter, happening, submission.change)
    return row
