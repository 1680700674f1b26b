"""`/generate`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.adapter_use import AdapterBody, MergeBody, ScaleBody
from service.api.schemas.logprobs import TokenInfo
from service.api.schemas.messages import Messages
from service.api.schemas.openai import FinishReason, Usage
from service.api.schemas.sampling import MaxTokens, NumLogprobs, Sampling
from service.api.schemas.schema import MAX_MODELS, MAX_PROMPTS, Reply, Text
from service.engine.request import SamplingParams

DEFAULT_TEMPERATURE = 0.0


def _prompt_kind(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<texts>" if isinstance(value, list) else None


Prompt = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS), Tag("<texts>")],
    Discriminator(
        _prompt_kind, custom_error_type="invalid_value", custom_error_message="must be a string or a list of strings"
    ),
]


class GenerateBody(Sampling):
    """Prompts or one conversation, for one adapter or several side by side."""

    prompt: Prompt | None = None
    messages: Messages | None = None
    adapter: AdapterBody | None = None
    """null: the base."""
    adapters: Annotated[list[AdapterBody | None], Field(min_length=1, max_length=MAX_MODELS)] | None = None
    """Every prompt by every one of these, in one batch; null is the base."""
    max_tokens: MaxTokens | None = None
    logprobs: NumLogprobs | None = None
    """Say how likely each token was, and so many of the likeliest at its place."""
    stream: bool = False
    template: Literal["chat", "none"] = "chat"
    """chat: each prompt is one user turn; none: prompts are continued as they are."""

    @model_validator(mode="after")
    def _check_choices(self) -> "GenerateBody":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("invalid_value", "give either prompt or messages", {"parameter": "prompt"})
        if self.adapter is not None and self.adapters is not None:
            raise PydanticCustomError("invalid_value", "give either adapter or adapters", {"parameter": "adapters"})
        if self.messages is not None and self.template == "none":
            raise PydanticCustomError("invalid_value", "messages need a template", {"parameter": "template"})
        return self

    @property
    def models(self) -> Sequence[str | ScaleBody | MergeBody | None]:
        """The adapters, or the one."""
        return [self.adapter] if self.adapters is None else self.adapters

    def params(self, default_temperature: float) -> SamplingParams:
        """For the engine; `max_tokens` is not known yet."""
        return replace(super().params(default_temperature), logprobs=self.logprobs)


class MergedVersion(Reply):
    """One part of a merge."""

    version: str
    """The pinned `name:N`."""
    digest: str
    weight: float


class Output(Reply):
    """One answer."""

    prompt_index: int
    adapter: JsonValue
    """As the request names it; null is the base."""
    choice_index: int
    """Which of `n`."""
    version: str | None
    """The pinned `name:N` that answered; null is the base or a merge."""
    digest: str | None
    """Of that version."""
    merged: list[MergedVersion] | None
    """The versions of a merge."""
    text: str
    logprobs: list[TokenInfo] | None
    """Of each token, where they were asked for."""
    finish_reason: FinishReason
    usage: Usage


class GenerateReply(Reply):
    """All answers: prompt by prompt, then adapter by adapter, then choice by choice."""

    id: str
    outputs: list[Output]


class DeltaEvent(Reply):
    """Event `delta`: a piece of an answer; the last one of each has a finish reason and the tokens counted."""

    prompt_index: int
    adapter: JsonValue
    choice_index: int
    version: str | None
    merged: list[MergedVersion] | None
    text: str
    logprobs: list[TokenInfo] | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class DoneEvent(Reply):
    """Event `done`: every answer has ended."""

    id: str
    usage: Usage
