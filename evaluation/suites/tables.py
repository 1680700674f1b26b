"""Rows about suites: contents by digest, and the names that versions of them have."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, ForeignKeyConstraint, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class SuiteContentRow(Base):
    """The cases of a suite. It stays while a name or a run needs it."""

    __tablename__ = "suite_contents"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    num_cases: Mapped[int] = mapped_column(Integer)
    content: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    """The suite as canonical JSON has it."""


class SuiteRow(Base):
    """One version of a named suite; the newest is what the bare name means."""

    __tablename__ = "suites"
    __table_args__ = (
        UniqueConstraint("tenant", "name", "digest"),
        ForeignKeyConstraint(
            ["tenant", "digest"],
            ["suite_contents.tenant", "suite_contents.digest"],
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(71))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
