"""What a scenario found: tables for people, numbers for machines."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column is text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown prints it."""
        rule = ["---", *["---:" for _ in self.headings[1:]]]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.headings, rule, *self.rows))


@dataclass(frozen=True)
class Report:
    """Of one scenario."""

    title: str
    tables: Sequence[Table]
    data: dict[str, Any] = field(default_factory=dict)
    """JSON: every single measurement."""

    def markdown(self) -> str:
        """Title and tables."""
        return "\n\n".join([f"## {self.title}", *[table.markdown() for table in self.tables]])


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between neighbours; `share` from 0 to 1."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Sequence[float], pattern: str = "{:.1f}") -> str:
    """The median, and the range where there is one."""
    middle = pattern.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({pattern.format(min(values))} to {pattern.format(max(values))})"


def milliseconds(seconds: float) -> str:
    """For a cell."""
    return f"{seconds * 1000:.0f} ms"
