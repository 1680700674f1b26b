"""Rows about jobs. Only `Jobs` and `Queue` write them; a worker's every write names the token of its claim."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class JobRow(Base):
    """One finetuning job."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        Index("ix_jobs_tenant_created_at", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16), index=True)
    wanted: Mapped[str] = mapped_column(String(8))
    """`run` or `pause`: what the worker is to bring about."""
    priority: Mapped[int] = mapped_column(Integer)
    request: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    token: Mapped[int] = mapped_column(Integer)
    """Rises with each claim and each end: a write that names an earlier one is refused."""
    worker: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Not claimed sooner: it was put back because the machine had no room."""
    attempts: Mapped[int] = mapped_column(Integer)
    """Claims since it last got on, after which it is given up."""

    step: Mapped[int] = mapped_column(Integer)
    total_steps: Mapped[int | None] = mapped_column(Integer)
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    estimated_finish: Mapped[datetime | None] = mapped_column(UtcDateTime)
    checkpoint: Mapped[str | None] = mapped_column(String(512))
    """Key of the newest state in the object store, from which another worker goes on."""

    fine_tuned_model: Mapped[str | None] = mapped_column(String(255))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_param: Mapped[str | None] = mapped_column(String(64))


class JobEventRow(Base):
    """Something that happened to a job."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, JsonValue] | None] = mapped_column(JSON)


class JobCheckpointRow(Base):
    """A checkpoint that can be prompted."""

    __tablename__ = "job_checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    step: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    metrics: Mapped[dict[str, float | None]] = mapped_column(JSON)


class WebhookDeliveryRow(Base):
    """A message to the operator's webhook, kept until it has arrived or was tried often enough."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    type: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    """None: nothing is left to do."""
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
