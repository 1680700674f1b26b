"""Structured remarks about a dataset."""

from collections.abc import Iterable
from dataclasses import dataclass

NUM_LISTED_LINES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something worth saying about some rows, or about the whole file."""

    code: str
    """Stable name: `empty_prompt`, `bad_rows`, …"""
    message: str
    """One line for people; names the first lines it is about."""
    count: int
    """How many rows, pairs or groups it is about."""
    lines: tuple[int, ...] = ()
    """Every line it is about, as in `Record.line`."""


def notice(code: str, what: str, count: int, lines: Iterable[int]) -> Notice:
    """Make a notice that reads `WHAT: COUNT (lines …)`."""
    every = tuple(lines)
    shown = ", ".join(str(line) for line in every[:NUM_LISTED_LINES])
    more = f" and {len(every) - NUM_LISTED_LINES} more" if len(every) > NUM_LISTED_LINES else ""
    return Notice(code=code, message=f"{what}: {count} (lines {shown}{more})", count=count, lines=every)
