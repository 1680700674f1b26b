"""Rows behind the registry. The files of a version live in the folder store, under its digest."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base

READY = "ready"
"""State of a version that may be served."""


class AdapterRow(Base):
    """A tenant's adapter name. The row outlives its versions, so that a number is never given twice."""

    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    next_number: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    keep_versions: Mapped[int | None]
    """How many of its newest versions retention keeps; null: as the settings say."""
    checkpoint_job: Mapped[str | None] = mapped_column(String(64))
    """The job whose checkpoints have this name."""


class VersionRow(Base):
    """One immutable version of an adapter."""

    __tablename__ = "adapter_versions"
    __table_args__ = (
        UniqueConstraint("adapter_id", "number"),
        UniqueConstraint("adapter_id", "digest"),
        Index("uq_adapter_versions_adapter_id_job_id", "adapter_id", "job_id", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(String(71), index=True)
    base_digest: Mapped[str] = mapped_column(String(71))
    base_name: Mapped[str] = mapped_column(String(255))
    rank: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    source: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    lineage: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    job_id: Mapped[str | None] = mapped_column(String(64))
    """The job that published it: one job, one version."""
    data_digest: Mapped[str | None] = mapped_column(String(71))
    """Of the rows it was trained on."""


class CheckpointRow(Base):
    """What a job's training had learnt at a step. It has no number and no alias, and goes when a newer job comes."""

    __tablename__ = "adapter_checkpoints"
    __table_args__ = (UniqueConstraint("adapter_id", "step"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    step: Mapped[int]
    job_id: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(71), index=True)
    data_digest: Mapped[str | None] = mapped_column(String(71))
    base_digest: Mapped[str] = mapped_column(String(71))
    base_name: Mapped[str] = mapped_column(String(255))
    rank: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    lineage: Mapped[dict[str, JsonValue]] = mapped_column(JSON)


class AliasRow(Base):
    """A movable name for one version of an adapter."""

    __tablename__ = "adapter_aliases"

    adapter_id: Mapped[int] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("adapter_versions.id"), index=True)


class TagRow(Base):
    """What people call a version to find it again; the value of a mere label is empty."""

    __tablename__ = "adapter_tags"

    version_id: Mapped[int] = mapped_column(ForeignKey("adapter_versions.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    value: Mapped[str] = mapped_column(String(256))


class PinRow(Base):
    """A version that every server loads when it starts, and keeps loaded."""

    __tablename__ = "adapter_pins"

    version_id: Mapped[int] = mapped_column(ForeignKey("adapter_versions.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class EventRow(Base):
    """Something that happened to an adapter. Versions are kept as numbers: the history outlives them."""

    __tablename__ = "adapter_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    alias: Mapped[str | None] = mapped_column(String(64))
    from_number: Mapped[int | None]
    number: Mapped[int | None]
    """The version concerned; of an alias, where it points since."""
    job_id: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
