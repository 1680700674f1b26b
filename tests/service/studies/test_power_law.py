import pytest

from service.studies.power_law import fit


def test_a_power_law_is_found_again() -> None:
    law = fit([10, 100, 1000], [3 * x**-0.2 for x in (10, 100, 1000)])
    assert law is not None
    assert (law.factor, law.exponent, law.r_squared) == pytest.approx((3, -0.2, 1))
    assert law(500) == pytest.approx(3 * 500**-0.2)


@pytest.mark.parametrize(
    ("xs", "ys"), [([1, 2], [3, 2]), ([1, 1, 2], [3, 3, 2]), ([1, 2, 3], [3, 2, 0]), ([0, 2, 3], [3, 2, 1])]
)
def test_what_no_curve_can_be_fitted_to_gives_none(xs: list[float], ys: list[float]) -> None:
    assert fit(xs, ys) is None
