"""Whether a model's confidence in its choices means what it says (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.results import CaseResult

BINS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Choices of about one confidence."""

    confidence: float
    """Their mean."""
    accuracy: float
    """Share of them that is right."""
    num_cases: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """All choices of one model."""

    bins: tuple[Bin, ...]
    """Those with choices, of ten equally wide ones."""
    error: float
    """Expected calibration error: the mean distance between confidence and accuracy, weighted by cases."""


def calibration(cases: Sequence[CaseResult]) -> Calibration | None:
    """By the probabilities that a model gives the choices among themselves; None without multiple choice."""
    found = [pair for case in cases if (pair := _confidence(case)) is not None]
    if not found:
        return None
    bins = []
    for at in range(BINS):
        members = [(sure, right) for sure, right in found if min(int(sure * BINS), BINS - 1) == at]
        if members:
            bins.append(
                Bin(
                    confidence=math.fsum(sure for sure, _ in members) / len(members),
                    accuracy=sum(right for _, right in members) / len(members),
                    num_cases=len(members),
                )
            )
    error = math.fsum(abs(each.confidence - each.accuracy) * each.num_cases for each in bins) / len(found)
    return Calibration(bins=tuple(bins), error=error)


def _confidence(case: CaseResult) -> tuple[float, bool] | None:
    logprobs = case.details.get("choice_logprobs")
    values = [value for value in logprobs if isinstance(value, float)] if isinstance(logprobs, list) else []
    top = max(values, default=math.nan)
    # A choice of probability 0 is none of the likely ones; one that is no number says nothing.
    if not math.isfinite(top) or any(math.isnan(value) for value in values):
        return None
    # exp of differences: the sums themselves underflow.
    total = math.fsum(math.exp(value - top) for value in values)
    return 1 / total, case.details.get("choice") == case.details.get("gold")
