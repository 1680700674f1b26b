"""From a raw row to a record, once the layout is known."""

import json
from typing import Any

from corpus.columns import Layout
from corpus.errors import RowError
from corpus.messages import OPERATOR_ROLES, Message, content_text, json_list, read_messages
from corpus.preferences import read_answer, read_prompt
from corpus.records import Record
from corpus.rows import Row, json_type

_ABSENT = object()


def to_record(row: Row, layout: Layout, file: str) -> Record:
    """Turn a row into a record.

    Raises:
        RowError: The row does not hold what the layout needs; the message is the reason.
    """
    if layout.name == "preference":
        return _from_preference(row, layout, file)
    if layout.name == "messages":
        return _from_messages(row, layout, file)
    if layout.name == "text":
        text = _string(row, layout.text)
        if not text.strip():
            raise RowError(f"the text (field {layout.text!r}) is empty")
        return Record(kind="text", file=file, line=row.line, row=row.values, text=text)
    prompt = _prompt(row, layout)
    completion = _completion(row, layout.label if layout.name == "text+label" else layout.completion)
    spoken: tuple[Message, ...] = (
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": completion},
    )
    return Record(
        kind="chat",
        file=file,
        line=row.line,
        row=row.values,
        messages=_system(row, layout) + spoken,
        label=completion if layout.name == "text+label" else None,
    )


def _from_messages(row: Row, layout: Layout, file: str) -> Record:
    messages = read_messages(_required(row, layout.messages))
    if not content_text(messages[-1]).strip() and not messages[-1].get("tool_calls"):
        raise RowError("the completion (the last message) is empty")
    return Record(
        kind="chat",
        file=file,
        line=row.line,
        row=row.values,
        messages=_with_system(messages, _system(row, layout)),
        tools=_tools(row, layout),
    )


def _from_preference(row: Row, layout: Layout, file: str) -> Record:
    prompt = () if layout.prompt is None else read_prompt(_required(row, layout.prompt), layout.prompt)
    chosen = read_answer(prompt, _required(row, layout.completion), "chosen")
    rejected = read_answer(prompt, _required(row, layout.rejected), "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowError("chosen and rejected must share every message but the last")
    if chosen[-1] == rejected[-1]:
        raise RowError("chosen and rejected are the same answer")
    return Record(
        kind="chat",
        file=file,
        line=row.line,
        row=row.values,
        messages=_with_system(chosen, _system(row, layout)),
        tools=_tools(row, layout),
        rejected=rejected[-1],
    )


def _with_system(messages: tuple[Message, ...], system: tuple[Message, ...]) -> tuple[Message, ...]:
    if not system or messages[0]["role"] not in OPERATOR_ROLES:
        return system + messages
    if content_text(messages[0]) != system[0]["content"]:
        raise RowError("the system column and the first message give two different system messages")
    return messages


def _system(row: Row, layout: Layout) -> tuple[Message, ...]:
    text = _optional_string(row, layout.system)
    return ({"role": "system", "content": text},) if text.strip() else ()


def _tools(row: Row, layout: Layout) -> tuple[dict[str, Any], ...] | None:
    value = None if layout.tools is None else _value(row, layout.tools)
    if value is _ABSENT or value is None or value == "":
        return None
    tools = json_list(value, str(layout.tools))
    if not all(isinstance(tool, dict) for tool in tools):
        raise RowError(f"field {layout.tools!r} must be a list of objects")
    return tuple(tools) or None


def _prompt(row: Row, layout: Layout) -> str:
    if layout.name == "text+label":
        return _string(row, layout.text)
    prompt = _string(row, layout.prompt)
    more = _optional_string(row, layout.input)
    if not more.strip():
        return prompt
    return f"{prompt}\n\n{more}" if prompt.strip() else more


def _completion(row: Row, column: str | None) -> str:
    value = _required(row, column)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise RowError(f"the completion (field {column!r}) must be text, not {json_type(value)}")
    if not value.strip():
        raise RowError(f"the completion (field {column!r}) is empty")
    return value


def _string(row: Row, column: str | None) -> str:
    value = _required(row, column)
    if not isinstance(value, str):
        raise RowError(f"field {column!r} must be a string, not {json_type(value)}")
    return value


def _optional_string(row: Row, column: str | None) -> str:
    value = "" if column is None else _value(row, column)
    if value is _ABSENT or value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"field {column!r} must be a string, not {json_type(value)}")
    return value


def _required(row: Row, column: str | None) -> Any:
    assert column is not None, "a layout names its required columns"
    value = _value(row, column)
    if value is _ABSENT:
        raise RowError(f"missing field {column!r}")
    return value


def _value(row: Row, column: str) -> Any:
    if column in row.values:
        return row.values[column]
    name = column.strip().casefold()
    return next((value for key, value in row.values.items() if key.strip().casefold() == name), _ABSENT)
