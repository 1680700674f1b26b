"""One spelling for texts that mean the same, and the keys under which records count as equal.

Chinese, Japanese and other scripts without spaces keep every letter.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from corpus.messages import Message, content_text
from corpus.records import Record

MEANINGFUL = frozenset("#%&@*/\\_")
"""Unicode files these under punctuation, but `C#`, `50%` or `a/b` mean something else without them."""
APOSTROPHES = frozenset("'`\u2019\u02bc")
"""Vanish without splitting the word, so that `don't` equals `dont`; other punctuation becomes a space."""
_MARK = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """Fold a text: NFKC, case, white space and punctuation.

    A text that is nothing but punctuation keeps it, so that `?!` does not equal the empty text.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    bare = " ".join(_MARK.sub(_fold_mark, folded).split())
    return bare or folded


def _fold_mark(match: re.Match[str]) -> str:
    mark = match.group()
    if mark in APOSTROPHES:
        return ""
    return " " if unicodedata.category(mark).startswith("P") and mark not in MEANINGFUL else mark


def prompt_key(record: Record) -> str:
    """Return what two records with the same prompt share: every prompt message and the tools, normalised.

    An empty prompt says nothing, so such a record counts by its answer; a text record counts by its text.
    """
    parts = [_message_key(message) for message in record.prompt_messages]
    if not any(parts):
        return f"\0{answer_key(record)}"
    tools = [] if record.tools is None else [_canonical(record.tools)]
    return "\n".join(parts + tools)


def answer_key(record: Record) -> str:
    """Return the normalised completion, tool calls included."""
    return normalise(record.text) if record.kind == "text" else _message_key(record.messages[-1])


def row_key(record: Record) -> str:
    """Return what two equal records share: prompt and completion, and of a preference pair the rejected answer."""
    rejected = "" if record.rejected is None else f"\n\n{_message_key(record.rejected)}"
    return f"{prompt_key(record)}\n\n{answer_key(record)}{rejected}"


def _message_key(message: Message) -> str:
    calls = message.get("tool_calls")
    text = normalise(content_text(message))
    return f"{text} {_canonical(calls)}" if calls else text


def _canonical(value: list[Any] | tuple[Mapping[str, Any], ...]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
