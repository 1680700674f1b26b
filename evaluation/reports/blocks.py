"""What a report is made of; each way to show one knows these blocks and nothing of evaluations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_NUMBER: Final = re.compile(r"[-+]?\d|\[|-$")


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text."""

    columns: tuple[str, ...]
    """All empty: a list of facts, without a head."""
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether it holds numbers, which are aligned to the right."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        headed = any(self.columns)
        return tuple(headed and at > 0 and all(map(_NUMBER.match, cells)) for at, cells in enumerate(columns))


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture, and what it shows for those who do not see it."""

    name: str
    """File name without suffix."""
    alt: str
    svg: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts that people or models wrote, under labels; shown as they are, whatever they hold."""

    title: str
    question: tuple[tuple[str, str], ...]
    """Label and text of what was asked and expected."""
    answers: tuple[tuple[str, str], ...]
    """Label and text of what each model said; side by side where there is room."""


Block = Paragraph | Table | Plot | Texts


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]
    data: Mapping[str, Any]
    """The same as JSON types; what is not finite is None."""
