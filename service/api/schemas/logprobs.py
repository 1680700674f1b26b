"""How likely tokens were, in OpenAI's two shapes."""

from service.api.schemas.schema import Reply


class TopLogprob(Reply):
    """One of the likeliest tokens at a place."""

    token: str
    """As text; unfinished characters are replaced."""
    logprob: float
    """In nats; -9999 stands for what cannot happen."""
    bytes: list[int]
    """What the token writes, exactly."""


class TokenInfo(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]
    """The likeliest at its place, likeliest first."""


class ChatLogprobs(Reply):
    """Every token of an answer, the one that ended it included."""

    content: list[TokenInfo]
    refusal: None = None


class CompletionLogprobs(Reply):
    """Tokens as `/v1/completions` lists them; all lists have one length."""

    tokens: list[str]
    r"""Each as text, or as `bytes:\xe2\x80` where it is only part of a character."""
    token_logprobs: list[float | None]
    """In nats; null for a prompt's first token, which nothing predicts."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens at the place, and the token itself."""
    text_offset: list[int]
    """Where the token begins in the text, in characters."""
