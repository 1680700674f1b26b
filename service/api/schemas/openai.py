"""What chat and text completions have in common."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.sampling import MaxTokens, Sampling
from service.api.schemas.schema import ModelName, Reply, Schema
from service.api.schemas.unsupported import NOT_BUILT, WITHOUT_EFFECT, without_neutral

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's."""

FinishReason = Literal["stop", "length"]


class StreamOptions(Schema):
    """How a stream looks."""

    include_usage: bool = False
    """A last chunk with the tokens counted."""
    include_obfuscation: bool = False
    """OpenAI's padding; there is none here."""


class OpenAIRequest(Sampling):
    """Parameters of both routes. `min_tokens`, `ignore_eos`, `top_k` and `min_p` are vLLM's extras."""

    model: ModelName
    """The base's id, or an adapter: name, name:N or name@alias."""
    n: int = Field(default=1, ge=1, le=64)
    max_tokens: MaxTokens | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out what is not built, where nothing is asked of it, and what has no effect."""
        asked = without_neutral(data, NOT_BUILT)
        return super().known_only({key: value for key, value in asked.items() if key not in WITHOUT_EFFECT})

    @model_validator(mode="after")
    def _check_options(self) -> "OpenAIRequest":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "invalid_value", "this goes with stream: true only", {"parameter": "stream_options"}
            )
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the tokens counted."""
        return self.stream_options is not None and self.stream_options.include_usage


class Usage(Reply):
    """Tokens counted; a prompt counts once, whatever `n` is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int) -> "Usage":
        """Of so many tokens."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        )
