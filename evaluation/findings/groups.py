"""Findings of many answers, grouped, with the worst answers of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.findings.kinds import KINDS
from evaluation.metrics import LOWER_IS_BETTER
from evaluation.results import CaseResult


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingGroup:
    """The answers that have one kind of finding."""

    kind: str
    count: int
    share: float
    """Of the answers that were generated."""
    worst: tuple[CaseResult, ...]
    """Those with the lowest scores, the lowest first."""


def group(results: Sequence[CaseResult], num_worst: int = 5) -> tuple[FindingGroup, ...]:
    """The kinds that occur, the most frequent first."""
    answered = [result for result in results if result.text is not None]
    groups = []
    for kind in KINDS:
        members = [result for result in answered if kind in result.findings]
        if members:
            worst = tuple(sorted(members, key=_quality)[:num_worst])
            groups.append(FindingGroup(kind=kind, count=len(members), share=len(members) / len(answered), worst=worst))
    return tuple(sorted(groups, key=lambda each: -each.count))


def _quality(result: CaseResult) -> tuple[float, int, int]:
    """For sorting: the mean of the scores of which more is better, then how much else is wrong, then the order."""
    scores = [value for name, value in result.scores.items() if value is not None and name not in LOWER_IS_BETTER]
    bounded = [value for value in scores if 0 <= value <= 1]
    return (sum(bounded) / len(bounded) if bounded else 0.0, -len(result.findings), result.index)
