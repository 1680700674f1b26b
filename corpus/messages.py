"""Chat messages in OpenAI's shape: checked, and otherwise left as they came."""

from collections.abc import Mapping
from typing import Any

from corpus.errors import RowError
from corpus.rows import defect, json_type, parse_json

ROLES = ("system", "developer", "user", "assistant", "tool")
OPERATOR_ROLES = ("system", "developer")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
"""ShareGPT's names for two of the roles; its other names are ours."""

Message = Mapping[str, Any]


def read_messages(value: Any) -> tuple[Message, ...]:
    """Check a list of chat messages.

    Args:
        value: A list of objects with `role` and `content` (ShareGPT's `from` and `value` are translated), or JSON text
            of one, as CSV carries it.

    Returns:
        The messages, every key kept (tool calls, names); keys that hold null, which Parquet fills in, are left out.

    Raises:
        RowError: An unknown role, no messages, content that is not text, or a last message not by the assistant.
    """
    messages = check_messages(json_list(value, "messages"))
    if not messages:
        raise RowError("the list of messages is empty")
    if messages[-1]["role"] != "assistant":
        raise RowError(f"the last message must be by the assistant, not {messages[-1]['role']!r}")
    return messages


def check_messages(items: list[Any]) -> tuple[Message, ...]:
    """Check each message, whoever speaks last.

    Raises:
        RowError: An unknown role, or content that is not text.
    """
    return tuple(_read_message(item, place) for place, item in enumerate(items, start=1))


def json_list(value: Any, name: str) -> list[Any]:
    """Take a list, or JSON text of a list.

    Raises:
        RowError: It is neither.
    """
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise RowError(f"field {name!r} is text that is no JSON list: {error}") from error
        reason = defect(value)
        if reason is not None:
            raise RowError(f"field {name!r} holds {reason}")
    if not isinstance(value, list):
        raise RowError(f"field {name!r} must be a list, not {json_type(value)}")
    return value


def content_text(message: Message) -> str:
    """Return a message's text: its content, or the text parts of its content joined; null is the empty text."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


def _read_message(item: Any, place: int) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"message {place} must be an object, not {json_type(item)}")
    message = {key: value for key, value in item.items() if value is not None or key == "content"}
    if "role" not in message and "from" in message:
        message = _from_sharegpt(message)
    role = message.get("role")
    if role not in ROLES:
        raise RowError(f"message {place} has the unknown role {role!r}; known: {', '.join(ROLES)}")
    _check_content(message, place)
    return message


def _from_sharegpt(message: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in message.items() if key not in ("from", "value")}
    name = message["from"]
    role = SHAREGPT_ROLES.get(name, name) if isinstance(name, str) else name
    return {"role": role, "content": message.get("value"), **rest}


def _check_content(message: Message, place: int) -> None:
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise RowError(f"message {place}: tool_calls must be a list of objects")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            _check_part(part, place)
    elif content is None and not calls:
        raise RowError(f"message {place} has no content")
    elif content is not None and not isinstance(content, str):
        raise RowError(f"message {place}: content must be a string or a list of text parts, not {json_type(content)}")


def _check_part(part: Any, place: int) -> None:
    if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
        kind = part.get("type") if isinstance(part, dict) else json_type(part)
        raise RowError(f"message {place}: a content part must be text, not {kind!r}")
