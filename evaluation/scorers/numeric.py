"""Whether an answer ends in the right number, as GSM8K is measured (Cobbe et al. 2021)."""

import math
import re
from dataclasses import dataclass
from decimal import Context, Decimal

from evaluation.cases import Case
from evaluation.errors import CaseError, UnknownScorerError
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_NUMBER = re.compile(
    r"(?:(?<![\w.)])[-\u2212])?"  # a sign, not the dash of "10-3" or "2019-2020"
    r"[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][+-]?\d{1,3}(?!\w))?"
)
_MARK = "####"
"""After it GSM8K's solutions give the answer alone."""
_EXACT = Context(prec=60, traps=[])


@dataclass(frozen=True)
class Numeric(MeanScorer):
    """Whether the answer's number is the case's `answer` field, or else the number of its completion.

    Args:
        tolerance: how far off it may be.
        relative_tolerance: the same as a share of the right number; the wider of both counts.
    """

    tolerance: float = 0.0
    relative_tolerance: float = 0.0
    metrics = ("numeric",)

    def __post_init__(self) -> None:
        for name in ("tolerance", "relative_tolerance"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UnknownScorerError(f"The scorer 'numeric': {name} is {value}; it must be a number from 0 on.")

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        if _expected(case) is None:
            raise CaseError(
                f"case {case.index} expects no number; end its completion in one, or give `answer` in its fields."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        said, right = last_number(answer.text), _expected(answer.case)
        assert right is not None
        if said is None:
            return Score(values={"numeric": 0.0}, details={"number": None, "number_error": "there is no number"})
        allowed = max(_decimal(self.tolerance), _EXACT.multiply(_decimal(self.relative_tolerance), abs(right)))
        close = abs(_EXACT.subtract(said, right)) <= allowed
        return Score(values={"numeric": float(close)}, details={"number": str(said)})


def last_number(text: str) -> Decimal | None:
    """The first number after the last `####`, otherwise the last number of the text; None without one.

    Commas between thousands and signs of currency are left out.
    """
    _, mark, marked = text.rpartition(_MARK)
    found = _NUMBER.findall(marked if mark else text)
    if not found:
        return None
    plain = re.sub("[,$€£]", "", found[0] if mark else found[-1]).replace("\u2212", "-")
    return Decimal(plain)


def _decimal(value: float) -> Decimal:
    """As people write it: the float 0.3 lies a little below 0.3."""
    return Decimal(str(value))


def _expected(case: Case) -> Decimal | None:
    answer = case.fields.get("answer")
    if isinstance(answer, int | float | str) and not isinstance(answer, bool):
        return last_number(str(answer))
    return last_number(case.reference)
