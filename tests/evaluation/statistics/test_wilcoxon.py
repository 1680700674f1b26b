from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata
from scipy.stats import wilcoxon as scipy_wilcoxon

from evaluation.statistics.wilcoxon import wilcoxon


def by_enumeration(differences: list[float]) -> float:
    moved = np.array([value for value in differences if value != 0])
    ranks = rankdata(np.abs(moved))
    total = ranks.sum()
    seen = min(ranks[moved > 0].sum(), ranks[moved < 0].sum())
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(moved))
    ]
    return float(np.mean([min(value, total - value) <= seen for value in sums]))


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_scipys_exact_test(seed: int) -> None:
    differences = [float(value) for value in np.random.default_rng(seed).normal(0.3, 1.0, 25)]

    assert wilcoxon(differences) == pytest.approx(scipy_wilcoxon(differences, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize(
    "differences",
    [
        [0.5, 0.5, 0.5, -0.5, 0.0, 1.0, 1.0, -2.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0],
        [0.25, -0.25, 0.75, 0.75, 0.75, 0.5, 0.5, -0.5, 0.0, 0.0, 1.0],
        [3.0, -3.0],
    ],
)
def test_with_ties_and_zeros_it_counts_every_choice_of_signs(differences: list[float]) -> None:
    assert wilcoxon(differences) == pytest.approx(by_enumeration(differences), rel=1e-9)


def test_differences_that_are_all_zero_say_nothing() -> None:
    assert wilcoxon([0.0, 0.0]) == 1.0


def test_four_gains_are_too_few_to_be_sure() -> None:
    assert wilcoxon([1.0, 2.0, 3.0, 4.0]) == 0.125
