"""Rows of the arena. Models are kept by name and digest: what people said outlives the versions they said it of."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UtcDateTime
from storage.database import Base


class BattleRow(Base):
    """Two answers to one conversation."""

    __tablename__ = "arena_battles"
    __table_args__ = (Index("ix_arena_battles_tenant_created_at", "tenant", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    messages: Mapped[list[JsonValue]] = mapped_column(JSON)
    generation: Mapped[dict[str, JsonValue]] = mapped_column(JSON)
    a_model: Mapped[str] = mapped_column(String(255))
    b_model: Mapped[str] = mapped_column(String(255))
    a: Mapped[dict[str, str]] = mapped_column(JSON)
    """Model, digest, text and finish reason. As JSON: a model may say a NUL, which PostgreSQL keeps in no text."""
    b: Mapped[dict[str, str]] = mapped_column(JSON)


class VoteRow(Base):
    """One voter's choice."""

    __tablename__ = "arena_votes"
    __table_args__ = (
        UniqueConstraint("battle_id", "voter"),
        Index("ix_arena_votes_tenant_created_at", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    battle_id: Mapped[str] = mapped_column(ForeignKey("arena_battles.id", ondelete="CASCADE"))
    voter: Mapped[str] = mapped_column(String(64))
    winner: Mapped[str] = mapped_column(String(4))
    comment: Mapped[str] = mapped_column(Text)


class RatingRow(Base):
    """A score and a comment for one answer, which is copied here."""

    __tablename__ = "arena_ratings"
    __table_args__ = (
        UniqueConstraint("battle_id", "side", "voter"),
        Index("ix_arena_ratings_tenant_created_at", "tenant", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    battle_id: Mapped[str | None] = mapped_column(ForeignKey("arena_battles.id", ondelete="CASCADE"))
    """Null: the answer was given elsewhere."""
    side: Mapped[str | None] = mapped_column(String(1))
    voter: Mapped[str] = mapped_column(String(64))
    score: Mapped[int]
    comment: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(255))
    answer: Mapped[dict[str, str]] = mapped_column(JSON)
    messages: Mapped[list[JsonValue]] = mapped_column(JSON)
