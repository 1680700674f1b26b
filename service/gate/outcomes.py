"""From an evaluation's results to what a policy is held against."""

from collections.abc import Mapping, Sequence

from evaluation.errors import ComparisonError
from evaluation.gate.decision import Against, SuiteOutcome
from evaluation.results import ModelResult
from evaluation.statistics.comparison import compare_results
from evaluation.statistics.paired import Difference


def outcomes_of(
    results: Sequence[ModelResult], models: Mapping[str, int], *, name: str, thresholds: Mapping[str, float]
) -> SuiteOutcome:
    """One suite's results, the candidate's first.

    Args:
        results: in the order of the evaluation's models.
        models: the position of each of the policy's references.
        name: of the suite.
        thresholds: the suite's own.
    """
    candidate = results[0]
    differences = {at: _differences(results[at], candidate) for at in set(models.values()) if at}
    return SuiteOutcome(
        suite=name,
        candidate=candidate,
        against={
            reference: Against(
                model=results[at].model or reference, result=results[at], differences=differences.get(at, {})
            )
            for reference, at in models.items()
        },
        thresholds=thresholds,
    )


def _differences(before: ModelResult, after: ModelResult) -> Mapping[str, Difference]:
    try:
        return {difference.metric: difference for difference in compare_results(before, after)}
    except ComparisonError:
        # Nothing was measured case by case; what was measured of the whole is compared as it is.
        return {}
