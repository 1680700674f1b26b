"""Two models on everything that was measured of both."""

import math
from collections.abc import Sequence

from evaluation.errors import ComparisonError
from evaluation.results import CaseResult, ModelResult
from evaluation.statistics.holm import holm
from evaluation.statistics.paired import CaseScores, Difference, compare, judged

OVER_TOKENS = ("loss", "perplexity", "token_accuracy")
"""Means over labelled tokens; all others are means over cases."""

NOT_BY_CASE = frozenset({"tokens_per_second"})
"""Of the whole set although cases have values: all tokens over all seconds is not their mean."""


def compare_results(before: ModelResult, after: ModelResult) -> tuple[Difference, ...]:
    """Compare every metric that has values case by case; the p-values are corrected together (Holm).

    A metric of the whole set, such as tokens per second or macro-F1, is left out: nothing says how far it would vary.
    Of BLEU and chrF, which are of the whole set too, the mean of the cases' own scores is compared. Left out are also
    cases for which one of the models has no value; `Difference.num_cases` counts the others.

    Raises:
        ComparisonError: The models share no metric that has values of the same cases.
    """
    shared = [metric for metric in before.metrics if metric in after.metrics and metric not in NOT_BY_CASE]
    scores = [(metric, case_scores(before.cases, metric), case_scores(after.cases, metric)) for metric in shared]
    found = [compare(old, new, metric) for metric, old, new in scores if set(old.values) & set(new.values)]
    if not found:
        raise ComparisonError(
            f"{before.model or 'base'} and {after.model or 'base'} have no metric in common with values of the same "
            "cases; compare runs over the same suite or file."
        )
    adjusted = holm([difference.p_value for difference in found])
    return tuple(judged(difference, p_value) for difference, p_value in zip(found, adjusted, strict=True))


def case_scores(cases: Sequence[CaseResult], metric: str) -> CaseScores:
    """Take one metric's finite values out of cases."""
    values = {case.index: value for case in cases if (value := _value(case, metric)) is not None}
    weights = {case.index: float(case.labelled_tokens or 0) for case in cases} if metric in OVER_TOKENS else {}
    return CaseScores(values=values, weights={index: weights[index] for index in values if index in weights})


def _value(case: CaseResult, metric: str) -> float | None:
    value = case.loss if metric in ("loss", "perplexity") else case.scores.get(metric)
    return value if value is not None and math.isfinite(value) else None
