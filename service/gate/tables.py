"""Rows about gates. Names of adapters and no keys: a gate may be set before its adapter has a version."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class GateRow(Base):
    """A policy on an alias."""

    __tablename__ = "gates"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    adapter: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    policy: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    actor: Mapped[str] = mapped_column(String(128))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class GateCheckRow(Base):
    """A candidate before a gate; it outlives the gate."""

    __tablename__ = "gate_checks"
    __table_args__ = (
        Index("ix_gate_checks_tenant_adapter_alias", "tenant", "adapter", "alias"),
        # One job, one check: a job that succeeds again after its worker was killed asks no second time.
        Index("uq_gate_checks_job_id_alias", "job_id", "alias", unique=True),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    adapter: Mapped[str] = mapped_column(String(64))
    alias: Mapped[str] = mapped_column(String(64))
    policy: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    candidate: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(16), index=True)
    expected: Mapped[int | None] = mapped_column(Integer)
    models: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    runs: Mapped[list[JsonValue]] = mapped_column(JSON)
    reason: Mapped[str | None] = mapped_column(Text)
    findings: Mapped[list[JsonValue] | None] = mapped_column(JSON(none_as_null=True))
    actor: Mapped[str] = mapped_column(String(128))
    job_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
