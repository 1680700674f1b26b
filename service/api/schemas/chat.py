"""`/v1/chat/completions`."""

from dataclasses import replace
from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.logprobs import ChatLogprobs
from service.api.schemas.messages import Messages
from service.api.schemas.openai import FinishReason, OpenAIRequest, Usage
from service.api.schemas.sampling import MaxTokens, NumLogprobs
from service.api.schemas.schema import Reply
from service.engine.request import SamplingParams


class ChatRequest(OpenAIRequest):
    """A conversation to be continued."""

    messages: Messages
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    """OpenAI's newer name of `max_tokens`; the stronger of the two."""
    logprobs: bool = False
    """Say how likely each token of the answer was."""
    top_logprobs: NumLogprobs | None = None
    """Say so of the likeliest tokens at each place too."""

    @model_validator(mode="after")
    def _check_logprobs(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError(
                "invalid_value", "this goes with logprobs: true only", {"parameter": "top_logprobs"}
            )
        return self

    def params(self, default_temperature: float) -> SamplingParams:
        """For the engine; `max_tokens` is not known yet."""
        params = super().params(default_temperature)
        return replace(params, logprobs=(self.top_logprobs or 0) if self.logprobs else None)


class AnswerMessage(Reply):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Reply):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
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
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Reply):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
