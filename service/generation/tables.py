"""Rows about generations. A server's every write to one it carries out names the token of its claim."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class GenerationRow(Base):
    """One generation."""

    __tablename__ = "data_generations"
    __table_args__ = (Index("ix_data_generations_tenant_created_at", "tenant", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16), index=True)
    request: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    model: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str | None] = mapped_column(String(71))
    judge: Mapped[str | None] = mapped_column(String(255))
    base_digest: Mapped[str] = mapped_column(String(71))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    kept: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    dropped: Mapped[dict[str, int]] = mapped_column(JSON)
    file_id: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)

    token: Mapped[int] = mapped_column(Integer)
    """Rises with each claim and each end: a write that names an earlier one is refused."""
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claims: Mapped[int] = mapped_column(Integer)
    """Since it last got on, after which it is given up."""


class OutcomeRow(Base):
    """The end of one attempt."""

    __tablename__ = "data_generation_outcomes"

    generation_id: Mapped[str] = mapped_column(ForeignKey("data_generations.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    row: Mapped[dict[str, JsonValue] | None] = mapped_column(JSON(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
