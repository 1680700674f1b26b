import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.control.best import Best, judged

losses = st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=20)


def after(values: list[float], min_delta: float = 0.0) -> Best:
    best = None
    for number, value in enumerate(values):
        best = judged(best, number + 1, value, {"value": value}, min_delta)
    assert best is not None
    return best


@given(losses, st.floats(0, 2))
def test_the_best_is_the_first_lowest_whatever_counts_as_an_improvement(values: list[float], min_delta: float) -> None:
    best = after(values, min_delta)
    assert best.valid_loss == min(values)
    assert best.step == values.index(min(values)) + 1
    assert best.figures == {"value": min(values)}


@given(losses)
def test_without_a_delta_stale_counts_from_the_best(values: list[float]) -> None:
    best = after(values)
    assert best.stale == len(values) - best.step


def test_small_gains_move_the_best_but_not_the_patience() -> None:
    best = after([2.0, 1.95, 1.9, 1.85], min_delta=0.5)
    assert (best.step, best.stale) == (4, 3)
    best = after([2.0, 1.95, 1.4, 1.3], min_delta=0.5)
    assert (best.step, best.stale) == (4, 1)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_no_number_is_never_better(odd: float) -> None:
    assert after([2.0, odd]).step == 1
    assert after([2.0, odd]).stale == 1
    assert after([odd, 1.5, 1.2]) == after([9.0, 1.5, 1.2])
