"""How answers are chosen: the parameters that every generating route takes."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.answer_format import ResponseFormat, StructuredOutputs
from service.api.schemas.schema import Schema
from service.api.schemas.unsupported import refuse_renamed
from service.engine.request import Grammar, SamplingParams

MAX_TOP_LOGPROBS = 20
MAX_TOKEN_ID = (1 << 31) - 1

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
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
NumLogprobs = Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Bias = Annotated[float, Field(ge=-100, le=100)]


def _by_token(biases: dict[str, float]) -> dict[str, float]:
    for key in biases:
        # One spelling each, so that no two keys name one token.
        if not (key.isascii() and key.isdecimal() and key == str(int(key[:20])) and int(key) <= MAX_TOKEN_ID):
            raise PydanticCustomError("invalid_value", "its keys must be token ids")
    return biases


LogitBias = Annotated[dict[str, _Bias], Field(max_length=1024), AfterValidator(_by_token)]


class Sampling(Schema):
    """Sampling parameters; a null one has its default."""

    n: int = Field(default=1, ge=1, le=64)
    """Answers to each prompt."""
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
    stop_token_ids: Annotated[list[TokenId], Field(max_length=128)] | None = None
    """Each ends the answer as the model's own end tokens do."""
    ignore_eos: bool = False
    """Go on past end tokens, for benchmarks."""
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=10)
    """Above 1 tokens of prompt and answer become less likely, below 1 more."""
    presence_penalty: _Penalty = 0.0
    """Taken off the logit of every token that the answer holds already."""
    frequency_penalty: _Penalty = 0.0
    """Taken off a token's logit for each time that the answer holds it."""
    logit_bias: LogitBias | None = None
    """Token id to what is added to its logit."""
    response_format: ResponseFormat | None = None
    """Text, a JSON object, or JSON by a schema."""
    structured_outputs: StructuredOutputs | None = None
    """vLLM's: JSON by a schema, an expression, choices or a grammar."""
    timeout: float | None = Field(default=None, gt=0, le=1e9)
    """Seconds after which the request fails; at most the server's own limit."""

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out nulls, which mean the default."""
        refuse_renamed(data)
        return {key: value for key, value in super().known_only(data).items() if value is not None}

    @model_validator(mode="after")
    def _check_grammars(self) -> "Sampling":
        by_format = self.response_format is not None and self.response_format.type != "text"
        if by_format and self.structured_outputs is not None:
            raise PydanticCustomError(
                "invalid_value",
                "give either response_format or structured_outputs",
                {"parameter": "structured_outputs"},
            )
        return self

    @property
    def grammar_param(self) -> str:
        """What a complaint about the grammar names."""
        return "response_format" if self.structured_outputs is None else "structured_outputs"

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
            stop_token_ids=frozenset(self.stop_token_ids or ()),
            ignore_eos=self.ignore_eos,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            grammar=self._grammar(),
        )

    def _grammar(self) -> Grammar | None:
        if self.structured_outputs is not None:
            return self.structured_outputs.to_grammar
        return None if self.response_format is None else self.response_format.grammar
