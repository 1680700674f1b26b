"""`/v1/data`: new rows from a model."""

from typing import Any, Literal

from service.api.schemas.schema import Reply, Schema
from service.api.schemas.times import unix
from service.generation.generation import Generation, Status
from service.generation.request import GenerationRequest
from service.page import Page


class GenerateDataBody(GenerationRequest, Schema):
    """What rows are wanted, from which files and by which model."""


class GenerationReply(Reply):
    """One generation."""

    id: str
    object: Literal["data.generation"] = "data.generation"
    status: Status
    """`partial`: attempts ran out, or a model could not be asked; it can be resumed."""
    request: dict[str, Any]
    """As it was asked, models pinned."""
    model: str
    """What writes."""
    digest: str | None
    judge: str | None
    created_at: int
    """Unix time, as all times here."""
    started_at: int | None
    finished_at: int | None
    kept: int
    """Rows so far."""
    attempts: int
    dropped: dict[str, int]
    """Attempts without a row, by reason, the most frequent first."""
    file_id: str | None
    """Of the rows, once it has ended with some."""
    error: str | None

    @classmethod
    def of(cls, generation: Generation) -> "GenerationReply":
        """Of a generation."""
        return cls.model_validate(fields_of(generation))


class GenerationDetail(GenerationReply):
    """One generation, with rows that were dropped."""

    examples: list[str]
    """The first ones, and why each fell."""


class GenerationList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[GenerationReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[Generation]) -> "GenerationList":
        """Of a page."""
        return cls(data=[GenerationReply.of(each) for each in page.data], has_more=page.has_more)


def fields_of(generation: Generation) -> dict[str, Any]:
    """The fields of a reply."""
    return {
        "id": generation.id,
        "status": generation.status,
        "request": generation.request.model_dump(mode="json"),
        "model": generation.model,
        "digest": generation.digest,
        "judge": generation.judge,
        "created_at": unix(generation.created_at),
        "started_at": generation.started_at and unix(generation.started_at),
        "finished_at": generation.finished_at and unix(generation.finished_at),
        "kept": generation.kept,
        "attempts": generation.attempts,
        "dropped": dict(sorted(generation.dropped.items(), key=lambda item: -item[1])),
        "file_id": generation.file_id,
        "error": generation.error,
    }
