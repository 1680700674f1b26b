"""What a judge says, and the seam to whatever judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from corpus.messages import Message

Winner = Literal["first", "second", "tie"]
DEFAULT_CRITERIA = ("The answer is correct, complete and follows the instructions.",)
LOWEST, HIGHEST = 1, 5
"""The marks that a judge gives for each criterion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One look at two answers."""

    winner: Winner | None
    """None: no verdict can be read from what the judge said."""
    reason: str
    """What it said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """One look at one answer."""

    score: float | None
    """Mean over the criteria, from 0 to 1; None: no marks can be read from what the judge said."""
    marks: tuple[float, ...] = ()
    """1 to 5 for each criterion, in their order; empty without a score."""
    reason: str
    """What it said."""


class Judge(Protocol):
    """Compares and grades. Synchronous; safe to call from several threads.

    Every method raises `JudgeUnavailableError` when the judge cannot be asked, of which `JudgeRefusedError` is about
    the one conversation alone.
    """

    @property
    def name(self) -> str:
        """The model that judges."""

    def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
        """Which of two answers is better, looked at in this order."""

    def grade(self, question: Sequence[Message], answer: str, reference: str | None, criteria: Sequence[str]) -> Grade:
        """How good an answer is; `reference` is one that is right, if there is one."""
