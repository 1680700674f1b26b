"""Trying an adapter's regular expressions where they can be stopped.

PEFT lets an adapter bring regular expressions, and some never end on a short name (`(a+)+$`). Python cannot interrupt
one, so strangers' expressions run first in a process that can be killed.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from adapters.errors import InvalidAdapterError

TIMEOUT_SECONDS: Final = 5.0
_LITERAL = re.compile(r"\^?(?:[A-Za-z0-9_.-]|\\\.)*\$?", re.ASCII)
_TRIAL = """
import json, re, sys
work = json.load(sys.stdin)
for pattern in work["patterns"]:
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        sys.exit(f"{pattern[:80]!r} is not a regular expression: {error}")
    for name in work["names"]:
        expression.match(name), expression.fullmatch(name)
"""


def check_patterns(
    expressions: Mapping[str, str], names: Iterable[str], timeout_seconds: float = TIMEOUT_SECONDS
) -> None:
    """Refuse patterns that are malformed, or too slow on these module names. Plain names cost nothing.

    Args:
        expressions: each pattern as the adapter wrote it, and the expression it becomes.
        names: what they will be matched against.
        timeout_seconds: for all of them together, the start of a process included.

    Raises:
        InvalidAdapterError: names the fault and what to write instead.
    """
    doubtful = [whole for pattern, whole in expressions.items() if not _LITERAL.fullmatch(pattern)]
    if not doubtful:
        return
    work = json.dumps({"patterns": doubtful, "names": list(names)})
    # The interpreter runs a constant script, isolated from the environment and site; the patterns are only data.
    command = [sys.executable, "-I", "-S", "-c", _TRIAL]
    try:
        trial = subprocess.run(
            command, input=work, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidAdapterError(
            f"adapter_config.json: its patterns took more than {timeout_seconds:g} s on the base's module names: "
            "list the modules' names instead"
        ) from error
    if trial.returncode != 0:
        raise InvalidAdapterError(f"adapter_config.json: {trial.stderr.strip()[-200:]}")
