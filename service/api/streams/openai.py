"""Streams in OpenAI's form: data lines, the last of them `[DONE]`."""

from collections.abc import Sequence
from typing import Any

from sse_starlette import JSONServerSentEvent, ServerSentEvent

from service.api.schemas.chat import ChatChunk, ChunkChoice
from service.api.schemas.completions import CompletionChoice, TextCompletion

DONE = ServerSentEvent("[DONE]")


def dumped(
    blank: ChatChunk | TextCompletion, choices: Sequence[ChunkChoice | CompletionChoice], *, include_usage: bool
) -> dict[str, Any]:
    """A chunk as JSON; `usage` is there, as null until the last, only for those who asked for it."""
    values = blank.model_dump(exclude=set() if include_usage else {"usage"})
    values["choices"] = [_choice(choice) for choice in choices]
    return values


def error_events(error: dict[str, Any]) -> Sequence[ServerSentEvent]:
    """How a stream ends that failed: the openai client raises what it finds under `error`."""
    return [JSONServerSentEvent(error), DONE]


def _choice(choice: ChunkChoice | CompletionChoice) -> dict[str, Any]:
    values = choice.model_dump()
    if isinstance(choice, ChunkChoice):
        values["delta"] = choice.delta.model_dump(exclude_none=True)
    return values
