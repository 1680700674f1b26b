"""What chat and text completions have in common."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.adapter_use import MergedParts, Weight
from service.api.schemas.sampling import Sampling
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
    """Parameters of both routes; OpenAI's own, vLLM's extras, and lorad's `timeout`, `adapter_scale` and `merge`."""

    model: ModelName
    """The base's id, or an adapter: name, name:N or name@alias."""
    adapter_scale: Weight | None = None
    """The adapter's change of the base is multiplied by this; 1 is the adapter as it was trained."""
    merge: MergedParts | None = None
    """Adapters whose weighted changes are summed; `model` names the base then."""
    best_of: int | None = Field(default=None, ge=1, le=64)
    """`n`: every answer that is made is given."""
    stream: bool = False
    stream_options: StreamOptions | None = None

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out what is not built, where nothing is asked of it, and what has no effect."""
        missing = {name: values for name, values in NOT_BUILT.items() if name not in cls.model_fields}
        asked = without_neutral(data, missing)
        return super().known_only({key: value for key, value in asked.items() if key not in WITHOUT_EFFECT})

    @model_validator(mode="after")
    def _check_options(self) -> "OpenAIRequest":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "invalid_value", "this goes with stream: true only", {"parameter": "stream_options"}
            )
        if self.best_of not in (None, self.n):
            raise PydanticCustomError(
                "unsupported_parameter",
                "this server gives every answer that it makes: let it be n, or leave it out",
                {"parameter": "best_of"},
            )
        if self.merge is not None and self.adapter_scale is not None:
            raise PydanticCustomError(
                "invalid_value", "merged adapters have weights of their own", {"parameter": "adapter_scale"}
            )
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the tokens counted."""
        return self.stream_options is not None and self.stream_options.include_usage


class PromptTokensDetails(Reply):
    """What became of the prompt's tokens."""

    cached_tokens: int
    """Not computed again, because an earlier request of this tenant began alike."""


class Usage(Reply):
    """Tokens counted; a prompt counts once, whatever `n` is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> "Usage":
        """Of so many tokens."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached_tokens),
        )
