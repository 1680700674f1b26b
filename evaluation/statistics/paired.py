"""Two models on the same cases: how far apart they are, and whether that is more than noise."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from evaluation.errors import ComparisonError
from evaluation.metrics import LOWER_IS_BETTER, perplexity_of
from evaluation.statistics.bootstrap import (
    CONFIDENCE,
    SAMPLES,
    Floats,
    Interval,
    percentiles,
    resampled_sums,
)
from evaluation.statistics.mcnemar import mcnemar
from evaluation.statistics.wilcoxon import wilcoxon

SIGNIFICANCE = 0.05
FEW_CASES = 50
"""With fewer the percentile bootstrap finds differences by chance too often (with 30 cases 7.5% of the time, where 5%
are allowed), and ranks are compared."""

Test = Literal["mcnemar", "paired bootstrap", "wilcoxon"]
Verdict = Literal["better", "worse", "noise"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseScores:
    """One model's values of one metric."""

    values: Mapping[int, float]
    """By case."""
    weights: Mapping[int, float] = field(default_factory=dict)
    """By case: labelled tokens, where the metric is a mean over tokens. A case without one weighs 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One metric of two models."""

    metric: str
    before: float
    after: float
    delta: float
    """after - before, whichever of them is better."""
    interval: Interval
    """Of delta: 95% percentile bootstrap over the cases."""
    p_value: float
    """Of this metric alone."""
    p_adjusted: float
    """After Holm's correction over the metrics that were compared together; the verdict goes by this."""
    test: Test
    verdict: Verdict
    """`noise` unless `p_adjusted` is at most 0.05 and the interval does not hold 0."""
    num_cases: int
    """That both models have a value for."""


def compare(before: CaseScores, after: CaseScores, metric: str) -> Difference:
    """Compare two models case by case.

    Scores that are all 0 or 1 are tested by McNemar's exact test; others by the paired bootstrap of the mean, or, with
    fewer than 50 cases, by Wilcoxon's exact signed-rank test. Values of `perplexity` are the cases' losses.

    Raises:
        ComparisonError: No case has a value from both.
    """
    shared = sorted(set(before.values) & set(after.values))
    if not shared:
        raise ComparisonError(
            f"{metric}: no case has a value from both models; compare runs over the same suite or file."
        )
    pairs = _Pairs.of(before, after, shared)
    scale = perplexity_of if metric == "perplexity" else float
    replicates = resampled_sums(pairs.rows, SAMPLES, seed=0)
    test, p_value = _tested(pairs, replicates)
    old, new = (scale(value) for value in pairs.means)
    difference = Difference(
        metric=metric,
        before=old,
        after=new,
        delta=new - old,
        interval=percentiles(_deltas(replicates, np.exp if metric == "perplexity" else np.asarray), CONFIDENCE),
        p_value=p_value,
        p_adjusted=p_value,
        test=test,
        verdict="noise",
        num_cases=len(shared),
    )
    return judged(difference, p_value)


def judged(difference: Difference, p_adjusted: float) -> Difference:
    """The difference with the verdict that a corrected p-value allows."""
    # NaN where both perplexities are infinite: which is better cannot be said.
    known = not any(map(math.isnan, (difference.delta, difference.interval.low, difference.interval.high)))
    clear = known and p_adjusted <= SIGNIFICANCE and 0 not in difference.interval
    gained = (difference.delta > 0) != (difference.metric in LOWER_IS_BETTER)
    verdict: Verdict = "noise" if not clear else "better" if gained else "worse"
    return replace(difference, p_adjusted=p_adjusted, verdict=verdict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pairs:
    """The values of the shared cases, each list in their order."""

    old: Sequence[float]
    old_weights: Sequence[float]
    new: Sequence[float]
    new_weights: Sequence[float]

    @classmethod
    def of(cls, before: CaseScores, after: CaseScores, shared: Sequence[int]) -> "_Pairs":
        return cls(
            old=[before.values[case] for case in shared],
            old_weights=[before.weights.get(case, 1.0) for case in shared],
            new=[after.values[case] for case in shared],
            new_weights=[after.weights.get(case, 1.0) for case in shared],
        )

    @property
    def rows(self) -> Floats:
        """Of each case: value times weight and weight, before and after."""
        columns = [np.asarray(column, float) for column in (self.old, self.old_weights, self.new, self.new_weights)]
        return np.column_stack([columns[0] * columns[1], columns[1], columns[2] * columns[3], columns[3]])

    @property
    def means(self) -> tuple[float, float]:
        sums = [math.fsum(column) for column in self.rows.T]
        return sums[0] / sums[1], sums[2] / sums[3]

    @property
    def binary(self) -> bool:
        weightless = {*self.old_weights, *self.new_weights} == {1.0}
        return weightless and {*self.old, *self.new} <= {0.0, 1.0}


def _tested(pairs: _Pairs, replicates: Floats) -> tuple[Test, float]:
    if pairs.binary:
        return "mcnemar", mcnemar(pairs.old, pairs.new)
    if len(pairs.old) < FEW_CASES:
        return "wilcoxon", wilcoxon([new - old for old, new in zip(pairs.old, pairs.new, strict=True)])
    old, new = pairs.means
    return "paired bootstrap", _shifted(_deltas(replicates, np.asarray), new - old)


def _shifted(deltas: Floats, delta: float) -> float:
    """The two-sided p-value: how often the resamples stray from what was seen by as much as that lies from 0."""
    far = np.count_nonzero(np.abs(deltas - delta) >= abs(delta))
    return float((far + 1) / (len(deltas) + 1))


def _deltas(replicates: Floats, scale: Callable[[Floats], Floats]) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return scale(replicates[:, 2] / replicates[:, 3]) - scale(replicates[:, 0] / replicates[:, 1])
