import dataclasses
import math
from collections.abc import Sequence
from statistics import mean
from typing import Literal

import pytest

from evaluation.gate.decision import Against, Decision, SuiteOutcome, decide
from evaluation.gate.text import parse
from evaluation.results import CaseResult, ModelResult
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.comparison import compare_results
from evaluation.statistics.paired import Difference

ISSUE = "promote to prod if exact_match >= prod and no suite drops > 1 point"


def result(model: str | None, **metrics: float) -> ModelResult:
    return ModelResult(
        model=model,
        metrics=metrics,
        cases=(),
        prompt_tokens=0,
        completion_tokens=0,
        labelled_tokens=0,
        tokens_per_second=None,
    )


def difference(
    metric: str,
    before: float,
    after: float,
    verdict: Literal["better", "worse", "noise"] = "noise",
    spread: float = 0.02,
) -> Difference:
    delta = after - before
    return Difference(
        metric=metric,
        before=before,
        after=after,
        delta=delta,
        interval=Interval(delta - spread, delta + spread),
        p_value=0.01,
        p_adjusted=0.02,
        test="mcnemar",
        verdict=verdict,
        num_cases=100,
    )


def outcome(
    suite: str,
    candidate: dict[str, float],
    prod: dict[str, float],
    *,
    verdict: Literal["better", "worse", "noise"] = "noise",
    spread: float = 0.02,
    thresholds: dict[str, float] | None = None,
) -> SuiteOutcome:
    found = {
        metric: difference(metric, prod[metric], candidate[metric], verdict, spread)
        for metric in candidate
        if metric in prod and metric != "tokens_per_second"
    }
    return SuiteOutcome(
        suite=suite,
        candidate=result("support:2", **candidate),
        against={"prod": Against(model="support:1", result=result("support:1", **prod), differences=found)},
        thresholds=thresholds or {},
    )


def decided(policy: str, *outcomes: SuiteOutcome) -> Decision:
    return decide(parse(policy), outcomes)


def test_a_better_candidate_is_promoted_with_its_numbers() -> None:
    decision = decided(ISSUE, outcome("tickets", {"exact_match": 0.9}, {"exact_match": 0.8}, verdict="better"))
    assert decision.promote
    assert decision.reason == (
        "promoted: 'exact_match >= prod' holds: exact_match 0.9 on tickets, support:1 has 0.8 (+0.1, 95% interval "
        "+0.08 to +0.12, p 0.02: better); 'no suite drops > 1 point' holds: exact_match 0.9 on tickets, support:1 has "
        "0.8 (+0.1, 95% interval +0.08 to +0.12, p 0.02: better)"
    )


def test_a_worse_candidate_is_refused_and_only_what_failed_is_told() -> None:
    decision = decided(ISSUE, outcome("tickets", {"exact_match": 0.795}, {"exact_match": 0.8}))
    assert not decision.promote
    assert decision.reason.startswith("refused: 'exact_match >= prod' does not hold: exact_match 0.795 on tickets")
    assert "drops" not in decision.reason
    assert [finding.holds for finding in decision.findings] == [False, True]


def test_one_suite_that_drops_is_enough() -> None:
    decision = decided(
        ISSUE,
        outcome("tickets", {"exact_match": 0.9}, {"exact_match": 0.8}),
        outcome("sql", {"sql": 0.70, "loss": 9.0}, {"sql": 0.72, "loss": 1.0}),
    )
    assert not decision.promote
    assert decision.reason.startswith("refused: 'no suite drops > 1 point' does not hold: sql 0.7 on sql")
    # The metric is looked at where it is measured; a loss does not drop.
    assert [(finding.metric, finding.suite) for finding in decision.findings] == [
        ("exact_match", "tickets"),
        ("exact_match", "tickets"),
        ("sql", "sql"),
    ]


@pytest.mark.parametrize(("after", "promote"), [(0.85, True), (0.8499, False), (0.86, True)])
def test_a_point_is_a_hundredth_and_rounding_decides_nothing(after: float, promote: bool) -> None:
    suite = outcome("tickets", {"exact_match": after}, {"exact_match": 0.86})
    assert decided("promote to prod if no suite drops > 1 point", suite).promote is promote


def test_a_significant_drop_is_wanted_where_the_policy_says_so() -> None:
    policy = "promote to prod if no suite drops significantly"
    assert decided(policy, outcome("a", {"f1": 0.5}, {"f1": 0.8}, verdict="noise")).promote
    assert not decided(policy, outcome("a", {"f1": 0.5}, {"f1": 0.8}, verdict="worse")).promote


@pytest.mark.parametrize(
    ("policy", "after", "verdict", "spread", "promote"),
    [
        ("exact_match > prod significantly", 0.85, "better", 0.02, True),
        ("exact_match > prod significantly", 0.85, "noise", 0.06, False),
        ("exact_match > prod + 2 points significantly", 0.85, "better", 0.02, True),
        ("exact_match > prod + 2 points significantly", 0.85, "better", 0.04, False),
        ("exact_match > prod + 5 points", 0.85, "better", 0.01, False),
        ("exact_match > prod + 4 points", 0.85, "noise", 0.5, True),
        ("exact_match >= prod - 5 points", 0.75, "worse", 0.01, True),
        ("exact_match > prod", 0.8, "noise", 0.01, False),
        ("exact_match >= prod", 0.8, "noise", 0.01, True),
    ],
)
def test_margins_and_noise(
    policy: str, after: float, verdict: Literal["better", "worse", "noise"], spread: float, promote: bool
) -> None:
    suite = outcome("tickets", {"exact_match": after}, {"exact_match": 0.8}, verdict=verdict, spread=spread)
    assert decided(f"promote to prod if {policy}", suite).promote is promote


@pytest.mark.parametrize(
    ("policy", "after", "promote"),
    [("loss <= prod", 1.0, True), ("loss < prod - 0.2", 0.9, False), ("loss < prod significantly", 0.7, True)],
)
def test_a_loss_is_better_when_lower(policy: str, after: float, promote: bool) -> None:
    suite = outcome("tickets", {"loss": after}, {"loss": 1.0}, verdict="better")
    assert decided(f"promote to prod if {policy}", suite).promote is promote


def test_numbers_suites_and_thresholds() -> None:
    first = outcome("a", {"exact_match": 0.9, "loss": 2.0}, {}, thresholds={"exact_match": 0.85, "loss": 2.5})
    second = outcome("b", {"exact_match": 0.5}, {}, thresholds={"exact_match": 0.6})
    assert decided("promote to prod if exact_match >= 0.9 on a", first, second).promote
    assert not decided("promote to prod if exact_match >= 0.9", first, second).promote
    assert decided("promote to prod if every suite passes", first).promote
    refused = decided("promote to prod if every suite passes", first, second)
    assert refused.reason == "refused: 'every suite passes' does not hold: exact_match 0.5 on b, 0.6 is wanted"


@pytest.mark.parametrize(
    "policy", ["rouge_l >= 0.1", "exact_match >= 0.1 on other", "every suite passes", "no suite drops in rouge_l"]
)
def test_what_nobody_measured_does_not_hold(policy: str) -> None:
    decision = decided(f"promote to prod if {policy}", outcome("a", {"exact_match": 0.9}, {"exact_match": 0.9}))
    assert not decision.promote
    assert decision.reason == f"refused: '{policy}' does not hold: nothing was measured for '{policy}'"


def test_no_number_is_better_than_any() -> None:
    lost = outcome("a", {"exact_match": math.nan}, {"exact_match": 0.1})
    for policy in ("exact_match >= prod", "exact_match >= 0", "no suite drops > 1 point"):
        decision = decided(f"promote to prod if {policy}", lost)
        assert not decision.promote
        assert decision.to_json()["findings"][0]["candidate"] is None  # type: ignore[index,call-overload]


def test_the_same_model_does_not_drop() -> None:
    suite = SuiteOutcome(
        suite="a",
        candidate=result("support:1", exact_match=0.4),
        against={"prod": Against(model="support:1", result=result("support:1", exact_match=0.4), differences={})},
    )
    assert decided(ISSUE, suite).promote


def test_a_loss_of_a_metric_that_has_no_test_counts_as_one() -> None:
    """Nothing says how far macro-F1 would vary."""
    collapsed = outcome("tickets", {"macro_f1": 0.2}, {"macro_f1": 0.9})
    untested = dataclasses.replace(
        collapsed, against={"prod": dataclasses.replace(collapsed.against["prod"], differences={})}
    )
    assert not decided("promote to prod if no suite drops significantly in macro_f1", untested).promote
    assert not decided("promote to prod if macro_f1 > prod significantly", untested).promote


def test_a_metric_that_the_candidate_lacks_is_lost() -> None:
    lacking = outcome("tickets", {"f1": 0.9}, {"f1": 0.9, "exact_match": 0.8})
    beside = outcome("others", {"exact_match": 0.9}, {"exact_match": 0.8})
    for policy in ("exact_match >= prod", "no suite drops", "no suite drops significantly in exact_match"):
        decision = decided(f"promote to prod if {policy}", lacking, beside)
        assert not decision.promote
        assert "exact_match nan on tickets, support:1 has 0.8" in decision.reason


def cases(values: Sequence[float | None]) -> tuple[CaseResult, ...]:
    return tuple(
        CaseResult(index=index, scores={} if value is None else {"numeric": value})
        for index, value in enumerate(values)
    )


def test_cases_that_only_the_candidate_lacks_forbid_and_those_that_only_the_other_lacks_are_left_out() -> None:
    before, after = [1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, None]
    for old, new, promote in ((before, after, False), (after, before, True)):
        made = [
            dataclasses.replace(result(name, numeric=mean(v for v in values if v is not None)), cases=cases(values))
            for name, values in (("support:1", old), ("support:2", new))
        ]
        found = {each.metric: each for each in compare_results(*made)}
        suite = SuiteOutcome(
            suite="sums",
            candidate=made[1],
            against={"prod": Against(model="support:1", result=made[0], differences=found)},
        )
        for policy in ("numeric >= prod", "no suite drops"):
            decision = decided(f"promote to prod if {policy}", suite)
            assert decision.promote is promote, decision.reason
            assert promote or "it has a value for 3 cases, support:1 for 4" in decision.reason
