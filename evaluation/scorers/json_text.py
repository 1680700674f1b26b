"""JSON in an answer."""

import re
from typing import Any

from corpus.rows import defect, parse_json

_FENCED = re.compile(r"\s*```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)


def unfenced(text: str) -> str:
    """What stands in a Markdown code block that is the whole text; any other text as it is."""
    found = _FENCED.fullmatch(text)
    return found[1] if found and "```" not in found[1] else text


def read_json(text: str, fenced: bool) -> Any:
    """Read an answer as RFC 8259 JSON, with white space around it.

    Args:
        text: the answer.
        fenced: whether the JSON may stand in a Markdown code block.

    Raises:
        ValueError: it is not JSON; says why.
    """
    value = parse_json(unfenced(text) if fenced else text)
    if (reason := defect(value)) is not None:
        raise ValueError(f"invalid JSON: {reason}")
    return value
