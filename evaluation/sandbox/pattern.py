"""Texts against regular expressions, whose matching can take as long as it likes."""

import re
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Match a text.

    Args:
        request: `pattern`, `text`, `full` (the whole text), `ignore_case`.

    Returns:
        `matches`, or `error` where the pattern is none.
    """
    try:
        pattern = re.compile(request["pattern"], re.IGNORECASE if request["ignore_case"] else 0)
    except (re.error, OverflowError) as error:
        return {"error": str(error)}
    found = pattern.fullmatch(request["text"]) if request["full"] else pattern.search(request["text"])
    return {"matches": found is not None}
