import pytest

from evaluation.statistics.holm import holm


def test_the_adjusted_values_are_those_of_r() -> None:
    # As p.adjust of R has them, by the method "holm".
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_no_value_exceeds_one() -> None:
    assert holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]


def test_one_comparison_needs_no_correction() -> None:
    assert holm([0.04]) == [0.04]


def test_nothing_gives_nothing() -> None:
    assert holm([]) == []
