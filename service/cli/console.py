"""What commands print: data on stdout, everything else on stderr."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

OK = 0
FAILED = 1
STOPPED_RESUMABLE = 75
"""EX_TEMPFAIL: stopped on request, `--resume` goes on."""
INTERRUPTED = 130

_FILE_COLUMNS = 240


def out() -> Console:
    """Data, for people; plain text when it is not a terminal, and without colour under NO_COLOR."""
    return _console(sys.stdout)


def err() -> Console:
    """Progress, remarks and errors."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    # A file or pipe has no edge to wrap at: a table there keeps its columns whole.
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, soft_wrap=not terminal, width=None if terminal else _FILE_COLUMNS)


def say(message: str) -> None:
    """One remark on stderr."""
    err().print(Text(message))


def fail(message: str) -> None:
    """One error on stderr."""
    err().print(Text.assemble(("error: ", "bold red"), message))


def emit_json(value: Any, *, indent: int | None = 2) -> None:
    """`value` as strict JSON on stdout: what is not a finite number becomes null."""
    print(json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201 - data


def finite(value: Any) -> Any:
    """`value` with every NaN and infinity, at any depth, replaced by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def duration(seconds: float) -> str:
    """A length of time as people write it: `1 min 05 s`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size_text(count: int) -> str:
    """A size as people write it: `18.7 MiB`, `3.4 GiB`."""
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
