import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from evaluation.errors import ComparisonError
from evaluation.statistics.bootstrap import Interval, percentiles, ratio_interval, resampled_sums


def interval(scores: list[float], **options: int) -> Interval:
    """Of a mean over cases."""
    return ratio_interval(scores, [1.0] * len(scores), **options)


def values(count: int, seed: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).exponential(2.0, count)]


def test_an_interval_is_scipys_percentile_bootstrap() -> None:
    scores = values(200, 1)

    found = interval(scores, samples=20_000)

    oracle = scipy_bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", random_state=5
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=0.03 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.03 * width)


def test_counts_of_few_distinct_values_are_the_same_bootstrap() -> None:
    scores = [1.0] * 60 + [0.0] * 40

    found = interval(scores, samples=20_000)

    oracle = scipy_bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", random_state=5
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.011)


def test_a_ratio_is_taken_after_the_sums() -> None:
    tokens = [1.0 + index % 7 for index in range(150)]
    nll = [value * count for value, count in zip(values(150, 2), tokens, strict=True)]

    found = ratio_interval(nll, tokens, samples=20_000)

    oracle = scipy_bootstrap(
        (nll, tokens),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        random_state=5,
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=0.03 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.03 * width)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    scores = values(100, 3)

    assert interval(scores, seed=4) == interval(scores, seed=4)
    assert interval(scores, seed=4) != interval(scores, seed=5)


def test_large_sets_are_drawn_in_parts() -> None:
    rows = np.asarray(values(3_000, 6)).reshape(-1, 1)

    sums = resampled_sums(rows, 1_000, seed=0)

    assert sums.shape == (1_000, 1)
    assert sums.mean() == pytest.approx(rows.sum(), rel=0.01)
    assert sums.std() == pytest.approx(rows.std() * np.sqrt(3_000), rel=0.1)
    assert len(np.unique(sums)) == 1_000


def test_both_ends_belong_to_an_interval() -> None:
    assert 0.0 in Interval(0.0, 1.0)
    assert 1.0 in Interval(0.0, 1.0)
    assert 1.1 not in Interval(0.0, 1.0)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ComparisonError, match="between 0 and 1"):
        percentiles(np.zeros(3), confidence)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ComparisonError, match="no cases"):
        interval([])
