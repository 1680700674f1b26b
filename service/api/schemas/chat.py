"""`/v1/chat/completions`."""

from typing import Literal

from service.api.schemas.messages import Messages
from service.api.schemas.openai import FinishReason, OpenAIRequest, Usage
from service.api.schemas.sampling import MaxTokens
from service.api.schemas.schema import Reply


class ChatRequest(OpenAIRequest):
    """A conversation to be continued."""

    messages: Messages
    max_completion_tokens: MaxTokens | None = None
    """OpenAI's newer name of `max_tokens`; the stronger of the two."""


class AnswerMessage(Reply):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Reply):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Reply):
    """All answers."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    """What answered: the base's id, or the pinned `name:N`."""
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: None = None


class ChatDelta(Reply):
    """A piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Reply):
    """A piece of one answer."""

    index: int
    delta: ChatDelta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Reply):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
