"""Checkpoints under an adapter's name: those of one job at a time, the newest that publishes any."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.errors import SupersededJobError
from adapters.events import CHECKPOINTS, Happening, remember
from adapters.rows import checkpoint_rows
from adapters.tables import AdapterRow, CheckpointRow, EventRow
from adapters.version import Change


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the row of a version or checkpoint tells of its folder; the fields are columns."""

    digest: str
    data_digest: str | None
    base_digest: str
    base_name: str
    rank: int
    size_bytes: int
    metrics: Mapping[str, float]
    lineage: Mapping[str, JsonValue]

    def columns(self) -> dict[str, Any]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def add_checkpoint(
    session: Session, adapter: AdapterRow, content: Content, job_id: str, step: int, change: Change
) -> tuple[CheckpointRow, list[str]]:
    """Add or replace the checkpoint of a step.

    Returns:
        The row, and the digests of rows that are gone.

    Raises:
        SupersededJobError: a newer job publishes its checkpoints under this name.
    """
    gone = _take_over(session, adapter, job_id, change)
    existing = select(CheckpointRow).where(CheckpointRow.adapter_id == adapter.id, CheckpointRow.step == step)
    row = session.scalar(existing)
    if row is not None and row.digest == content.digest:
        return row, gone
    if row is not None:
        gone.append(row.digest)
        session.delete(row)
        session.flush()
    row = CheckpointRow(
        adapter_id=adapter.id, step=step, job_id=job_id, created_at=datetime.now(UTC), **content.columns()
    )
    session.add(row)
    return row, gone


def drop_checkpoints(session: Session, adapter: AdapterRow) -> list[CheckpointRow]:
    """Delete all of them; gives the rows that were."""
    rows = list(checkpoint_rows(session, adapter))
    for row in rows:
        session.delete(row)
    session.flush()
    return rows


def _take_over(session: Session, adapter: AdapterRow, job_id: str, change: Change) -> list[str]:
    """Make the job the one whose checkpoints have the name, unless it has lost it to another."""
    if adapter.checkpoint_job == job_id:
        return []
    # Times of jobs on several machines say less than who came first here.
    had_it = select(EventRow.id).where(
        EventRow.adapter_id == adapter.id, EventRow.kind == CHECKPOINTS, EventRow.job_id == job_id
    )
    if session.scalar(had_it.limit(1)) is not None:
        raise SupersededJobError(adapter.name, job_id, str(adapter.checkpoint_job))
    adapter.checkpoint_job = job_id
    remember(session, adapter, Happening(kind=CHECKPOINTS, job_id=job_id), change)
    return [row.digest for row in drop_checkpoints(session, adapter)]
