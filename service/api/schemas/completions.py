"""`/v1/completions`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from service.api.schemas.openai import FinishReason, OpenAIRequest, Usage
from service.api.schemas.schema import MAX_PROMPTS, Reply, Text

_TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
_TokenIds = Annotated[list[_TokenId], Field(min_length=1, max_length=1 << 20)]


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
    logprobs: None = None
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
