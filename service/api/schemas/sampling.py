"""How answers are chosen: the parameters that every generating route takes."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from service.api.schemas.schema import Schema
from service.engine.request import SamplingParams

_COLDEST = 0.01
"""Below this the division of the logits overflows; the likeliest token is as good as certain anyway."""

_StopText = Annotated[str, Field(min_length=1, max_length=256)]


def _stop_kind(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<texts>" if isinstance(value, list) else None


Stop = Annotated[
    Annotated[_StopText, Tag("<text>")] | Annotated[list[_StopText], Field(max_length=16), Tag("<texts>")],
    Discriminator(
        _stop_kind, custom_error_type="invalid_value", custom_error_message="must be a string or a list of strings"
    ),
]
MaxTokens = Annotated[int, Field(ge=1, le=1 << 20)]


class Sampling(Schema):
    """Sampling parameters; a null one has its default."""

    min_tokens: int = Field(default=0, ge=0, le=1 << 20)
    """End tokens and stop strings count only after so many new tokens."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 takes the likeliest token, and so does anything below 0.01."""
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1 << 20)
    """Sample among so many of the likeliest tokens; 0 or -1: all."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(1 << 63), le=(1 << 63) - 1)
    """The same seed gives the same text."""
    stop: Stop | None = None
    """The answer ends before the first of these."""
    ignore_eos: bool = False
    """Go on past end tokens, for benchmarks."""

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out nulls, which mean the default."""
        return {key: value for key, value in super().known_only(data).items() if value is not None}

    def params(self, default_temperature: float) -> SamplingParams:
        """For the engine; `max_tokens` is not known yet."""
        temperature = default_temperature if self.temperature is None else self.temperature
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            max_tokens=1,
            min_tokens=self.min_tokens,
            temperature=0.0 if temperature < _COLDEST else temperature,
            top_k=max(self.top_k or 0, 0),
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p or 0.0,
            seed=self.seed,
            stop=tuple(stop),
            ignore_eos=self.ignore_eos,
        )
