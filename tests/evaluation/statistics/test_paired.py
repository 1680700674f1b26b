import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel
from scipy.stats import wilcoxon as scipy_wilcoxon

from evaluation.errors import ComparisonError
from evaluation.statistics.paired import CaseScores, compare


def of(values: Sequence[float], weights: Sequence[float] = ()) -> CaseScores:
    return CaseScores(values=dict(enumerate(values)), weights=dict(enumerate(weights)))


def noisy(count: int, shift: float, seed: int = 0) -> tuple[CaseScores, CaseScores]:
    generator = np.random.default_rng(seed)
    before = generator.uniform(0.0, 1.0, count)
    after = before + generator.normal(shift, 0.2, count)
    return of([float(value) for value in before]), of([float(value) for value in after])


def test_right_and_wrong_answers_are_compared_by_mcnemar() -> None:
    before, after = [1.0] * 30 + [0.0] * 20 + [1.0] * 3, [1.0] * 30 + [1.0] * 20 + [0.0] * 3

    found = compare(of(before), of(after), "exact_match")

    assert found.test == "mcnemar"
    assert found.p_value == pytest.approx(binomtest(3, 23, 0.5).pvalue)
    assert (found.before, found.after) == pytest.approx((33 / 53, 50 / 53))
    assert found.delta == pytest.approx(17 / 53)
    assert found.interval.low < found.delta < found.interval.high
    assert (found.verdict, found.num_cases) == ("better", 53)


def test_a_gain_inside_the_noise_is_called_noise() -> None:
    found = compare(of([1.0] * 30 + [0.0] * 5 + [1.0] * 3), of([1.0] * 30 + [1.0] * 5 + [0.0] * 3), "exact_match")

    assert found.delta > 0
    assert found.verdict == "noise"
    assert 0 in found.interval


def test_scores_between_are_compared_by_their_mean() -> None:
    before, after = noisy(400, 0.03)

    found = compare(before, after, "rouge_l")

    oracle = ttest_rel(list(after.values.values()), list(before.values.values()))
    assert found.test == "paired bootstrap"
    assert found.p_value == pytest.approx(oracle.pvalue, abs=0.01)
    interval = oracle.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), abs=0.003)


def test_few_cases_are_compared_by_ranks() -> None:
    before, after = noisy(20, 0.2)

    found = compare(before, after, "rouge_l")

    differences = [after.values[case] - before.values[case] for case in before.values]
    assert found.test == "wilcoxon"
    assert found.p_value == pytest.approx(scipy_wilcoxon(differences, method="exact").pvalue)
    assert found.verdict == "better"


def test_a_lower_loss_is_better_and_weighs_each_token_alike() -> None:
    generator = np.random.default_rng(3)
    tokens = [float(count) for count in generator.integers(1, 40, 200)]
    old = [float(value) for value in generator.uniform(1.0, 3.0, 200)]
    new = [value - 0.4 for value in old]

    found = compare(of(old, tokens), of(new, tokens), "loss")

    assert found.before == pytest.approx(np.average(old, weights=tokens))
    assert found.delta == pytest.approx(-0.4)
    assert found.interval.low == pytest.approx(-0.4)
    assert found.verdict == "better"
    assert compare(of(new, tokens), of(old, tokens), "loss").verdict == "worse"


def test_perplexity_is_the_exponential_of_the_loss_and_tested_like_it() -> None:
    before, after = noisy(100, -0.05)
    weights = dict.fromkeys(before.values, 2.0)
    before, after = (CaseScores(values=each.values, weights=weights) for each in (before, after))

    loss, perplexity = compare(before, after, "loss"), compare(before, after, "perplexity")

    assert perplexity.before == pytest.approx(math.exp(loss.before))
    assert perplexity.delta == pytest.approx(math.exp(loss.after) - math.exp(loss.before))
    assert perplexity.p_value == loss.p_value
    assert perplexity.interval.low < perplexity.delta < perplexity.interval.high


def test_only_cases_that_both_have_are_compared() -> None:
    before = CaseScores(values={1: 0.0, 2: 1.0, 3: 0.0})
    after = CaseScores(values={2: 1.0, 3: 1.0, 4: 0.0})

    found = compare(before, after, "exact_match")

    assert (found.num_cases, found.before, found.after) == (2, 0.5, 1.0)


def test_one_model_against_itself_is_noise() -> None:
    before, _ = noisy(100, 0.0)

    found = compare(before, before, "rouge_l")

    assert (found.delta, found.p_value, found.verdict) == (0.0, 1.0, "noise")


def test_chance_is_called_a_difference_as_rarely_as_by_the_t_test() -> None:
    called = by_t = 0
    for seed in range(100):
        before, after = noisy(80, 0.0, seed)
        called += compare(before, after, "rouge_l").verdict != "noise"
        by_t += ttest_rel(list(after.values.values()), list(before.values.values())).pvalue <= 0.05

    assert abs(called - by_t) <= 3


def test_models_without_a_case_in_common_are_refused() -> None:
    with pytest.raises(ComparisonError, match=r"rouge_l: no case .* same suite"):
        compare(CaseScores(values={1: 0.5}), CaseScores(values={2: 0.5}), "rouge_l")


@pytest.mark.parametrize("count", [8, 60])
def test_perplexities_too_large_for_a_float_are_infinite(count: int) -> None:
    huge = of([800.0 + at for at in range(count)])

    found = compare(huge, of([2.0] * count), "perplexity")
    assert (found.before, found.delta, found.verdict) == (math.inf, -math.inf, "better")
    found = compare(huge, of([900.0 + at for at in range(count)]), "perplexity")
    assert (found.after, math.isnan(found.delta), found.verdict) == (math.inf, True, "noise")
