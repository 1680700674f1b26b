from collections.abc import Sequence

import pytest

from evaluation.errors import ComparisonError
from evaluation.results import CaseResult, ModelResult
from evaluation.scorers.latency import Latency
from evaluation.statistics.comparison import compare_results
from tests.evaluation.scorers.answers import make_answer, make_case


def result(model: str | None, cases: Sequence[CaseResult], *metrics: str) -> ModelResult:
    return ModelResult(
        model=model,
        metrics=dict.fromkeys(metrics, 0.0),
        cases=tuple(cases),
        prompt_tokens=0,
        completion_tokens=0,
        labelled_tokens=0,
        tokens_per_second=None,
    )


def cases(exact: Sequence[float | None], losses: Sequence[float], tokens: int = 3) -> list[CaseResult]:
    return [
        CaseResult(index=index, scores={"exact_match": right}, loss=loss, labelled_tokens=tokens + index)
        for index, (right, loss) in enumerate(zip(exact, losses, strict=True))
    ]


def timed(index: int, seconds: float) -> CaseResult:
    score = Latency().score(make_answer("", make_case(index=index), seconds=seconds))
    return CaseResult(index=index, scores=score.values, tokens=4, seconds=seconds)


BASE = result(None, cases([0.0] * 60, [2.0 + 0.01 * at for at in range(60)]), "loss", "perplexity", "exact_match")
BETTER = result(
    "a:1",
    cases([1.0] * 40 + [0.0] * 20, [1.5 + 0.012 * at for at in range(60)]),
    "loss",
    "perplexity",
    "exact_match",
)


def test_every_metric_of_both_is_compared_in_order() -> None:
    found = compare_results(BASE, BETTER)

    assert [each.metric for each in found] == ["loss", "perplexity", "exact_match"]
    assert [each.verdict for each in found] == ["better"] * 3
    assert found[2].after == pytest.approx(40 / 60)


def test_the_loss_weighs_cases_by_their_labelled_tokens() -> None:
    loss = compare_results(BASE, BETTER)[0]

    tokens = [3 + at for at in range(60)]
    assert loss.before == pytest.approx(sum((2.0 + 0.01 * at) * tokens[at] for at in range(60)) / sum(tokens))


def test_metrics_are_corrected_together() -> None:
    before = result(None, cases([1.0] * 12 + [0.0] * 6, [1.0] * 18), "exact_match")
    after = result("a:1", cases([1.0] * 12 + [1.0] * 6, [1.0] * 18), "exact_match")
    alone = compare_results(before, after)
    wide_before = result(None, cases([1.0] * 12 + [0.0] * 6, [1.0] * 18), "exact_match", "loss")
    wide_after = result("a:1", cases([1.0] * 12 + [1.0] * 6, [1.0] * 18), "exact_match", "loss")

    together = compare_results(wide_before, wide_after)

    assert alone[0].p_value == alone[0].p_adjusted == pytest.approx(2 / 64)
    assert alone[0].verdict == "better"
    assert together[0].p_adjusted == pytest.approx(4 / 64)
    assert together[0].verdict == "noise"


def test_cases_without_a_score_are_left_out_and_counted() -> None:
    before = result(None, cases([1.0, 0.0, None, 0.0], [1.0] * 4), "exact_match")
    after = result("a:1", cases([1.0, None, 1.0, 1.0], [1.0] * 4), "exact_match")

    assert compare_results(before, after)[0].num_cases == 2


def test_a_loss_that_is_no_number_is_left_out() -> None:
    before = result(None, cases([None, None], [1.0, float("inf")]), "loss")
    after = result("a:1", cases([None, None], [1.5, 1.0]), "loss")

    found = compare_results(before, after)[0]

    assert (found.num_cases, found.before, found.after) == (1, 1.0, 1.5)


def test_figures_of_the_whole_set_are_not_compared() -> None:
    before, after = (
        result(model, [timed(index, seconds * index) for index in range(1, 5)], *Latency.metrics)
        for model, seconds in ((None, 0.5), ("a:1", 0.25))
    )

    assert [each.metric for each in compare_results(before, after)] == ["latency_seconds"]


def test_results_of_different_cases_are_refused() -> None:
    other = result("a:1", [CaseResult(index=99, scores={"exact_match": 1.0})], "exact_match")

    with pytest.raises(ComparisonError, match="base and a:1 have no metric in common"):
        compare_results(BASE, other)
