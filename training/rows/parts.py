"""How often an epoch draws the rows of each file."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol


class Weighted(Protocol):
    """A row of a file."""

    @property
    def file(self) -> str:
        """The file's path."""

    @property
    def weight(self) -> float:
        """How often an epoch draws it."""


@dataclass(frozen=True)
class Part:
    """Rows that follow each other and are drawn equally often: those of one file."""

    num_rows: int
    weight: float = 1.0

    @property
    def num_drawn(self) -> int:
        """Rows of one epoch, at least one: each of them as often as the weight is whole, and a share for the rest."""
        return max(1, round(self.num_rows * self.weight))


def parts_of(rows: Iterable[Weighted]) -> tuple[Part, ...]:
    """Divide rows, given file after file, into the parts of their files."""
    groups = groupby(rows, key=lambda row: (row.file, row.weight))
    return tuple(Part(sum(1 for _ in members), weight) for (_, weight), members in groups)
