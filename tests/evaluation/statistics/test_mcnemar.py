import random

import pytest
from scipy.stats import binomtest

from evaluation.statistics.mcnemar import mcnemar


def scores(both: int, gained: int, lost: int, neither: int = 0) -> tuple[list[float], list[float]]:
    before = [1.0] * both + [0.0] * gained + [1.0] * lost + [0.0] * neither
    after = [1.0] * both + [1.0] * gained + [0.0] * lost + [0.0] * neither
    return before, after


@pytest.mark.parametrize(("gained", "lost"), [(10, 2), (2, 10), (6, 6), (1, 0), (40, 25), (300, 200)])
def test_the_p_value_is_that_of_a_coin_tossed_for_each_discordant_case(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, 0.5).pvalue

    assert mcnemar(*scores(50, gained, lost, 20)) == pytest.approx(expected, rel=1e-9)


def test_a_published_table() -> None:
    # Fay 2010, "Exact McNemar's Test and Matching Confidence Intervals": b=12, c=2 gives 0.01294.
    assert mcnemar(*scores(21, 12, 2, 9)) == pytest.approx(0.01294, abs=5e-6)


def test_cases_on_which_the_models_agree_do_not_count() -> None:
    assert mcnemar(*scores(0, 9, 2)) == mcnemar(*scores(500, 9, 2, 700))


def test_models_that_never_differ_are_equal() -> None:
    assert mcnemar(*scores(10, 0, 0)) == 1.0


def test_the_order_of_the_cases_does_not_matter() -> None:
    before, after = scores(5, 8, 3, 4)
    order = random.Random(1).sample(range(20), 20)

    assert mcnemar([before[at] for at in order], [after[at] for at in order]) == mcnemar(before, after)
