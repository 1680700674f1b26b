"""Rows about runs. A server's every write to a run it carries out names the token of its claim."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, Boolean, ForeignKey, ForeignKeyConstraint, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class RunRow(Base):
    """One evaluation."""

    __tablename__ = "evaluation_runs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "suite_digest"],
            ["suite_contents.tenant", "suite_contents.digest"],
        ),
        Index("ix_evaluation_runs_tenant_created_at", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16), index=True)
    suite_name: Mapped[str | None] = mapped_column(String(64))
    suite_digest: Mapped[str] = mapped_column(String(71))
    num_cases: Mapped[int] = mapped_column(Integer)
    scorers: Mapped[list[JsonValue]] = mapped_column(JSON)
    generation: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    base_digest: Mapped[str] = mapped_column(String(71))
    actor: Mapped[str] = mapped_column(String(128))
    judge: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    done: Mapped[int] = mapped_column(Integer)
    total: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)

    token: Mapped[int] = mapped_column(Integer)
    """Rises with each claim and each end: a write that names an earlier one is refused."""
    server: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    """Claims since it last got on, after which it is given up."""


class RunModelRow(Base):
    """One model of a run, and what was found of it."""

    __tablename__ = "evaluation_models"

    run_id: Mapped[str] = mapped_column(ForeignKey("evaluation_runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    asked: Mapped[str | None] = mapped_column(String(255))
    model: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(71), index=True)
    result: Mapped[dict[str, JsonValue] | None] = mapped_column(JSON(none_as_null=True))
    """Without the cases, which have rows of their own."""


class RunCaseRow(Base):
    """One model's answer to one case."""

    __tablename__ = "evaluation_cases"

    run_id: Mapped[str] = mapped_column(ForeignKey("evaluation_runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    """The model's."""
    case_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    failed: Mapped[bool] = mapped_column(Boolean)
    """It has an error instead of a score, and is done again when the run is resumed."""
    result: Mapped[dict[str, JsonValue]] = mapped_column(JSON)


class RunEventRow(Base):
    """Something that happened to a run."""

    __tablename__ = "evaluation_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("evaluation_runs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    level: Mapped[str] = mapped_column(String(8))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, JsonValue] | None] = mapped_column(JSON(none_as_null=True))
