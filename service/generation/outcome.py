"""How attempts end, one by one, and where that is written down."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from corpus.synthetic.drafts import REASONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of one attempt: a row, or the reason why there is none."""

    attempt: int
    row: Mapping[str, Any] | None = None
    """With its provenance."""
    reason: str | None = None
    """One of `corpus.synthetic.drafts.REASONS`."""
    text: str = ""
    """What a dropped row proposed, shortened, and why it fell."""

    def __post_init__(self) -> None:
        assert (self.row is None) != (self.reason is None), "a row or a reason"


class Outcomes(Protocol):
    """Where outcomes are kept. What `add` returns from survives a kill and a power cut."""

    def known(self) -> Iterable[Outcome]:
        """Return what earlier runs have left, by attempt, each attempt once."""

    def add(self, outcome: Outcome) -> None:
        """Write one down; an attempt that is there already stays as it is."""


@dataclass
class Tally:
    """How far a generation is."""

    kept: int = 0
    attempts: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""

    def count(self, outcome: Outcome) -> None:
        """Take one in."""
        self.attempts += 1
        if outcome.reason is None:
            self.kept += 1
        else:
            self.dropped[outcome.reason] += 1

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """The reasons, the most frequent first."""
        return sorted(self.dropped.items(), key=lambda item: (-item[1], list(REASONS).index(item[0])))
