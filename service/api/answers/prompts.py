"""Prompts: functions that give their tokens, as what answers wants them."""

from collections.abc import Callable, Sequence

from base.rendering import raw
from service.inference.inference import Inference
from service.inference.target import Target

Encode = Callable[[Inference, Target], Sequence[int]]
"""A prompt: its tokens, as a target wants them."""


def text_prompt(text: str) -> Encode:
    """A text with no template around it."""
    return lambda inference, _target: raw(inference.base.tokenizer, text)


def token_prompt(token_ids: Sequence[int]) -> Encode:
    """Tokens as they are."""
    return lambda _inference, _target: token_ids


def chat_prompt(messages: Sequence[dict[str, str]]) -> Encode:
    """A conversation in the model's template."""
    return lambda inference, target: inference.render(target, messages)
