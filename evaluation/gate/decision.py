"""The decision of a gate: a pure function of a policy and of what was measured."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from evaluation.gate.findings import Finding, refused_text, summary_text
from evaluation.gate.policy import DropCondition, MetricCondition, PassCondition, Policy, has_points
from evaluation.gate.text import condition_text
from evaluation.metrics import LOWER_IS_BETTER
from evaluation.results import ModelResult
from evaluation.statistics.comparison import case_scores
from evaluation.statistics.paired import Difference

_ROUNDING = 1e-9
"""A drop from 0.86 to 0.85 is a point, and not 1.0000000000000009 points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """A model that the candidate is held against, on one suite."""

    model: str
    """What answered: `name:N`, or the base's name."""
    result: ModelResult
    differences: Mapping[str, Difference]
    """From it to the candidate, by metric; none of a metric that is not measured case by case, or the same model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteOutcome:
    """One suite's run."""

    suite: str
    candidate: ModelResult
    against: Mapping[str, Against]
    """By the policy's references."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """The suite's own: the least that a metric may be, or the most of one that is better when lower."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a gate decides, and why."""

    promote: bool
    reason: str
    """One sentence with the numbers that decided."""
    findings: tuple[Finding, ...]
    """Of every condition, also those that hold."""

    def to_json(self) -> dict[str, JsonValue]:
        """As a history keeps it."""
        return {"promote": self.promote, "findings": [finding.to_json() for finding in self.findings]}


def decide(policy: Policy, outcomes: Sequence[SuiteOutcome]) -> Decision:
    """Look at every condition of a policy.

    A condition that nothing was measured for does not hold, nor one for which the candidate has values of fewer cases
    than the model it is held against: what it could not be measured on might have been what it is bad at. A metric of
    the whole set has no test, so there every loss counts as one and no gain is significant.
    """
    findings: list[Finding] = []
    for condition in policy.conditions:
        if isinstance(condition, MetricCondition):
            found = list(_metric(condition, outcomes))
        elif isinstance(condition, DropCondition):
            found = list(_drops(condition, policy.alias, outcomes))
        else:
            found = list(_passes(condition, outcomes))
        findings += found or [_unmeasured(condition)]
    failed = [finding for finding in findings if not finding.holds]
    reason = refused_text(failed) if failed else summary_text(findings)
    return Decision(promote=not failed, reason=reason, findings=tuple(findings))


def _metric(condition: MetricCondition, outcomes: Sequence[SuiteOutcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        if condition.suite not in (None, outcome.suite) or not _is_measured(condition.metric, outcome):
            continue
        value = outcome.candidate.metrics.get(condition.metric, math.nan)
        if isinstance(condition.to, str):
            yield _beside_model(condition, outcome)
        else:
            wanted = condition.to + condition.margin
            yield Finding(
                condition=condition_text(condition),
                suite=outcome.suite,
                metric=condition.metric,
                candidate=value,
                wanted=wanted,
                holds=_compares(condition.comparison, value, wanted),
            )


def _is_measured(metric: str, outcome: SuiteOutcome) -> bool:
    results = [outcome.candidate, *(other.result for other in outcome.against.values())]
    return any(metric in result.metrics for result in results)


@dataclass(frozen=True, slots=True)
class _Pair:
    """One metric of the candidate and of another model."""

    value: float
    known: float
    difference: Difference | None
    unmeasured: tuple[int, int] | None

    @classmethod
    def of(cls, metric: str, candidate: ModelResult, other: Against) -> "_Pair":
        value = candidate.metrics.get(metric, math.nan)
        known = other.result.metrics.get(metric, math.nan)
        difference = other.differences.get(metric)
        mine, theirs = (len(case_scores(result.cases, metric).values) for result in (candidate, other.result))
        if mine > theirs and difference is not None:
            value, known = difference.after, difference.before
        return cls(value, known, difference, (mine, theirs) if mine < theirs else None)


def _beside_model(condition: MetricCondition, outcome: SuiteOutcome) -> Finding:
    assert isinstance(condition.to, str)
    other = outcome.against[condition.to]
    pair = _Pair.of(condition.metric, outcome.candidate, other)
    difference, wanted = pair.difference, pair.known + condition.margin
    holds = pair.unmeasured is None and _compares(condition.comparison, pair.value, wanted)
    if condition.significant:
        holds = holds and difference is not None and _clear(difference, condition.margin)
    return Finding(
        condition=condition_text(condition),
        suite=outcome.suite,
        metric=condition.metric,
        candidate=pair.value,
        wanted=wanted,
        holds=holds,
        against=other.model,
        current=pair.known,
        difference=difference,
        unmeasured=pair.unmeasured,
    )


def _clear(difference: Difference, margin: float) -> bool:
    beyond = difference.interval.high < margin if _lower(difference) else difference.interval.low > margin
    return difference.verdict == "better" and beyond


def _drops(condition: DropCondition, alias: str, outcomes: Sequence[SuiteOutcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        other = outcome.against[alias]
        for metric in _droppable(condition, outcome, other):
            pair = _Pair.of(metric, outcome.candidate, other)
            difference = pair.difference
            dropped = not pair.known - pair.value <= condition.margin + _ROUNDING
            if condition.significant and difference is not None:
                dropped = dropped and difference.verdict == "worse"
            yield Finding(
                condition=condition_text(condition),
                suite=outcome.suite,
                metric=metric,
                candidate=pair.value,
                wanted=pair.known - condition.margin,
                holds=not dropped and pair.unmeasured is None,
                against=other.model,
                current=pair.known,
                difference=difference,
                unmeasured=pair.unmeasured,
            )


def _droppable(condition: DropCondition, outcome: SuiteOutcome, other: Against) -> list[str]:
    """What the other has; where the candidate lacks it, all of it is lost."""
    if condition.metric is not None:
        return [metric for metric in other.result.metrics if metric == condition.metric]
    measured = outcome.candidate.metrics
    # The same model has no difference from itself, and its metrics do not drop.
    case_by_case = set(other.differences) or set(measured)
    return [
        metric
        for metric in other.result.metrics
        if has_points(metric) and (metric in case_by_case or metric not in measured)
    ]


def _passes(condition: PassCondition, outcomes: Sequence[SuiteOutcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        for metric, wanted in outcome.thresholds.items():
            value = outcome.candidate.metrics.get(metric, math.nan)
            comparison = "<=" if metric in LOWER_IS_BETTER else ">="
            yield Finding(
                condition=condition_text(condition),
                suite=outcome.suite,
                metric=metric,
                candidate=value,
                wanted=wanted,
                holds=_compares(comparison, value, wanted),
            )


def _unmeasured(condition: MetricCondition | DropCondition | PassCondition) -> Finding:
    return Finding(condition=condition_text(condition), holds=False)


def _compares(comparison: str, value: float, wanted: float) -> bool:
    """NaN compares with nothing."""
    if comparison == ">=":
        return value >= wanted - _ROUNDING
    if comparison == "<=":
        return value <= wanted + _ROUNDING
    return value > wanted + _ROUNDING if comparison == ">" else value < wanted - _ROUNDING


def _lower(difference: Difference) -> bool:
    return difference.metric in LOWER_IS_BETTER
