"""`/v1/completions`."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas.logprobs import CompletionLogprobs
from service.api.schemas.openai import FinishReason, OpenAIRequest, Usage
from service.api.schemas.sampling import NumLogprobs, TokenId
from service.api.schemas.schema import MAX_PROMPTS, Reply, Text
from service.engine.request import SamplingParams

_TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=1 << 20)]


def _prompt_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return {int: "<token ids>", list: "<lists of token ids>", str: "<texts>"}.get(type(first))


Prompt = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS), Tag("<texts>")]
    | Annotated[_TokenIds, Tag("<token ids>")]
    | Annotated[list[_TokenIds], Field(min_length=1, max_length=MAX_PROMPTS), Tag("<lists of token ids>")],
    Discriminator(
        _prompt_kind,
        custom_error_type="invalid_value",
        custom_error_message="must be a string, a list of strings, a list of token ids or a list of such lists",
    ),
]


class CompletionRequest(OpenAIRequest):
    """Prompts to be continued, with no template around them."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    """0 goes with `echo`: the prompt is scored and nothing is generated."""
    echo: bool = False
    """Begin each text with its prompt; with `logprobs`, say how likely the prompt's tokens were too."""
    logprobs: NumLogprobs | None = None
    """Say how likely each token was, and so many of the likeliest at its place."""

    @model_validator(mode="after")
    def _check_max_tokens(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("invalid_value", "0 goes with echo: true only", {"parameter": "max_tokens"})
        return self

    def params(self, default_temperature: float) -> SamplingParams:
        """For the engine; `max_tokens` is not known yet."""
        of_prompt = self.logprobs if self.echo else None
        if self.max_tokens == 0 and of_prompt is None:
            # The engine has to be asked for something.
            of_prompt = 0
        return replace(super().params(default_temperature), logprobs=self.logprobs, prompt_logprobs=of_prompt)

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt on its own."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]


class CompletionChoice(Reply):
    """One answer, or a piece of one."""

    index: int
    """Prompt by prompt, then choice by choice."""
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None


class TextCompletion(Reply):
    """All answers, or one event of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    """What answered: the base's id, or the pinned `name:N`."""
    choices: list[CompletionChoice]
    usage: Usage | None = None
    system_fingerprint: None = None
