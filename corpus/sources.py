"""Which files a dataset is read from, and how much each of them counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from corpus.columns import ColumnMapping
from corpus.readers import SUFFIXES

MAX_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True)
class Source:
    """One file."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    """A run's specification may name no other key."""

    path: Path
    weight: float = 1.0
    """How often an epoch draws each of its rows: 2 is twice, 0.5 every other one."""
    columns: ColumnMapping | None = None
    """Its columns, where they are named otherwise than in the other files."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= MAX_WEIGHT:
            raise ValueError(f"the weight of {self.path} must be above 0 and at most {MAX_WEIGHT:g}, not {self.weight}")


def read_source(text: str) -> Source:
    """Read a source as people write it: `FILE`, or `FILE=WEIGHT`.

    A file's name may hold `=` itself: what ends in a suffix that is read (`runs=2.jsonl`) is a file without a weight.

    Raises:
        ValueError: What follows the file is no weight.
    """
    name, sign, weight = text.rpartition("=")
    if not sign or _is_file(text) or not _is_file(name):
        return Source(Path(text))
    try:
        return Source(Path(name), float(weight))
    except ValueError as error:
        raise ValueError(
            f"{text}: write FILE, or FILE=WEIGHT with a number above 0 and at most {MAX_WEIGHT:g}"
        ) from error


def _is_file(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES
