"""A generation as its owner sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from service.generation.request import GenerationRequest

Status = Literal["queued", "running", "completed", "partial", "cancelled", "failed"]
ENDED: Final[tuple[Status, ...]] = ("completed", "partial", "cancelled", "failed")
RESUMABLE: Final[tuple[Status, ...]] = ("partial", "cancelled", "failed")


@dataclass(frozen=True, kw_only=True)
class NewGeneration:
    """What is asked for, models pinned."""

    request: GenerationRequest
    model: str
    """What writes: pinned `name:N`, the base's id, or the operator's model."""
    digest: str | None
    judge: str | None
    base_digest: str
    """Of the server that was asked; only servers of that base carry it out."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One generation."""

    id: str
    """`gen-` and 24 hexadecimal digits."""
    tenant: str
    status: Status
    """`partial`: attempts ran out, or a model could not be asked; it can be resumed."""
    request: GenerationRequest
    model: str
    digest: str | None
    judge: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    kept: int
    attempts: int
    dropped: Mapping[str, int]
    """By reason."""
    file_id: str | None
    """Of the rows that were kept, once it has ended with some."""
    error: str | None
