"""Preference pairs in TRL's shapes: a prompt and two answers as text or as messages, or two whole conversations."""

from typing import Any

from corpus.errors import RowError
from corpus.messages import Message, check_messages, content_text, json_list, read_messages
from corpus.rows import json_type


def read_prompt(value: Any, column: str) -> tuple[Message, ...]:
    """Take a prompt: text becomes one user message, a list of messages stays what it is.

    Raises:
        RowError: It is neither, or holds no message.
    """
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    messages = check_messages(json_list(value, column))
    if not messages:
        raise RowError(f"the prompt (field {column!r}) holds no message")
    if messages[-1]["role"] == "assistant":
        raise RowError(f"the prompt (field {column!r}) must not end with a message by the assistant")
    return messages


def read_answer(prompt: tuple[Message, ...], value: Any, column: str) -> tuple[Message, ...]:
    """Take an answer to `prompt`, and return the whole conversation.

    Args:
        prompt: What the column of the prompt holds; nothing where there is none.
        value: Text, one message, or messages that follow the prompt or begin with it.
        column: `chosen` or `rejected`.

    Raises:
        RowError: It is empty, or not by the assistant, or without a prompt.
    """
    if isinstance(value, str):
        messages: tuple[Message, ...] = ({"role": "assistant", "content": value},)
    elif isinstance(value, list | dict):
        messages = read_messages([value] if isinstance(value, dict) else value)
    else:
        raise RowError(f"field {column!r} must be text or messages, not {json_type(value)}")
    whole = messages if messages[: len(prompt)] == prompt else prompt + messages
    if len(whole) < 2:
        raise RowError(
            f"field {column!r} answers nothing: give a prompt column, or conversations with a user's message"
        )
    if not content_text(whole[-1]).strip() and not whole[-1].get("tool_calls"):
        raise RowError(f"the answer (field {column!r}) is empty")
    return whole
