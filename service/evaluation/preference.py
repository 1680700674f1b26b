"""Which of two models' stored answers a judge prefers, asked in both orders."""

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.errors import ComparisonError
from evaluation.judging.judge import Winner
from evaluation.judging.pairwise import Pair, PairVerdict, PairwiseSummary, compare_pairs, summarise
from evaluation.statistics.mcnemar import mcnemar
from evaluation.statistics.paired import Verdict
from evaluation.suites.suite import Suite
from service.evaluation.comparison import Paired, Side, pair_runs
from service.evaluation.encoding import question_of
from service.evaluation.request import Judging, opened_judge
from service.evaluation.run import Desk

MAX_CASES = 1000
"""Of one request, each asked twice."""
_SIGNIFICANT = 0.05
_SIDES: dict[Winner, str] = {"first": "after", "second": "before", "tie": "tie"}
_POINTS = {"after": (0.0, 1.0), "before": (1.0, 0.0)}


@dataclass(frozen=True, kw_only=True)
class JudgedCase:
    """One case that both models have answered."""

    index: int
    winner: str | None
    """`before`, `after` or `tie`; None: no verdict can be read in one of the orders."""
    agrees: bool | None
    """Whether both orders gave the same winner; None where one cannot be read."""
    reasons: tuple[str, str]
    """What the judge said with the answer of `after` first, and with it second."""


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Two models as a judge sees them."""

    paired: Paired
    judge: str
    summary: PairwiseSummary
    """`first` is the model of `after`."""
    p_value: float
    """Of the exact test whether both win equally often; ties say nothing."""
    verdict: Verdict
    """Of `after`: `better` or `worse` where p is at most 0.05."""
    cases: tuple[JudgedCase, ...]


def judge_runs(
    desk: Desk,
    asked: Judging,
    before: Side,
    after: Side,
    max_cases: int = MAX_CASES,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Preference]:
    """Let a judge choose between the answers of two stored evaluations, case by case and in both orders.

    Args:
        desk: where evaluations are.
        asked: who judges.
        before: the baseline.
        after: what may be better; models pair as in `compare_runs`.
        max_cases: the first so many that both have answered.
        on_progress: told how many pairs of one comparison are done; what it raises ends the judging.

    Raises:
        UnknownRunError, RunStateError, ComparisonError: as in `pair_runs`; also where no case has two answers.
        AdapterError, JudgeUnavailableError: the judge cannot be had, or does not answer any more.
    """
    found = pair_runs(desk.runs, asked.tenant, before, after)
    suite = desk.suites.content(asked.tenant, found[0].after_run.suite.digest)
    with opened_judge(asked) as judge:
        preferences = []
        for paired in found:
            pairs = dict(list(_pairs(paired, suite).items())[:max_cases])
            if not pairs:
                raise ComparisonError(
                    f"{paired.before_run.id} and {paired.after_run.id} have no case that both models have answered: "
                    "evaluate with a metric that generates, such as exact_match"
                )
            verdicts = dict(zip(pairs, compare_pairs(judge, list(pairs.values()), on_progress), strict=True))
            preferences.append(_preference(paired, judge.name, verdicts))
    return preferences


def _pairs(paired: Paired, suite: Suite) -> dict[int, Pair]:
    old = {case.index: case.text for case in paired.before.cases if case.text is not None}
    return {
        case.index: Pair(question=tuple(question_of(suite.cases[case.index])), first=case.text, second=old[case.index])
        for case in paired.after.cases
        if case.text is not None and case.index in old
    }


def _preference(paired: Paired, judge: str, verdicts: dict[int, PairVerdict]) -> Preference:
    cases = tuple(
        JudgedCase(
            index=index,
            winner=None if verdict.winner is None else _SIDES[verdict.winner],
            agrees=verdict.agrees,
            reasons=(verdict.forth.reason, verdict.back.reason),
        )
        for index, verdict in verdicts.items()
    )
    summary = summarise(verdicts.values())
    points = [_POINTS[case.winner] for case in cases if case.winner in _POINTS]
    p_value = mcnemar([old for old, _ in points], [new for _, new in points])
    verdict: Verdict = "noise"
    if p_value <= _SIGNIFICANT:
        verdict = "better" if summary.first_wins > summary.second_wins else "worse"
    return Preference(paired=paired, judge=judge, summary=summary, p_value=p_value, verdict=verdict, cases=cases)
