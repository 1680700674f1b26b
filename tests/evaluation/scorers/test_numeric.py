import pytest

from evaluation.errors import CaseError, UnknownScorerError
from evaluation.scorers.numeric import Numeric, last_number
from tests.evaluation.scorers.answers import value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 apples and buys 4.\n#### 7", "7"),
        ("#### 7 apples, 2 of them red", "7"),
        ("The answer is $1,234.50.", "1234.50"),
        ("10-3", "3"),
        ("from 2019-2020", "2020"),
        ("it is -3", "-3"),
        ("it is \u22123", "-3"),
        ("x = (-3)", "-3"),
        ("so 5, 6", "6"),
        ("1,2", "2"),
        ("about .5", "0.5"),
        ("50%", "50"),
        ("1.5e3 metres", "1500"),
        ("$-12", "-12"),
        ("-$12", "-12"),
        ("12.", "12"),
    ],
)
def test_the_number_after_the_mark_or_the_last_one_is_taken(text: str, number: str) -> None:
    found = last_number(text)
    assert found is not None
    assert found == type(found)(number)


@pytest.mark.parametrize("text", ["", "none", "#### nothing", "-", "3 apples #### "])
def test_a_text_may_have_no_number(text: str) -> None:
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("The total is 72.", "48/2 = 24\n48+24 = 72\n#### 72", 1.0),
        ("72.00", "#### 72", 1.0),
        ("71", "#### 72", 0.0),
        ("no idea", "#### 72", 0.0),
        ("9" * 400, "9" * 399 + "8", 0.0),
        ("1e999", "1e998", 0.0),
    ],
)
def test_an_answer_is_right_by_its_number(text: str, reference: str, expected: float) -> None:
    assert value(Numeric(), text, reference) == expected


def test_tolerances() -> None:
    assert value(Numeric(tolerance=0.5), "10.5", "10") == 1.0
    assert value(Numeric(tolerance=0.5), "10.51", "10") == 0.0
    assert value(Numeric(relative_tolerance=0.1), "-110", "-100") == 1.0
    assert value(Numeric(tolerance=0.3), "10.3", "10") == 1.0
    assert value(Numeric(tolerance=0.1), "10.10000000000000000001", "10") == 0.0
    assert value(Numeric(relative_tolerance=0.3), "13", "10") == 1.0
    assert value(Numeric(relative_tolerance=0.1), "-111", "-100") == 0.0


@pytest.mark.parametrize("answer", [72, 72.0, "72"])
def test_the_field_answer_comes_before_the_completion(answer: float | str) -> None:
    assert value(Numeric(), "72", "no number here", fields={"answer": answer}) == 1.0


def test_a_case_without_a_number_is_refused() -> None:
    with pytest.raises(CaseError, match="case 3 expects no number"):
        value(Numeric(), "1", "none", index=3)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_number_from_0_on(tolerance: float) -> None:
    with pytest.raises(UnknownScorerError, match="tolerance"):
        Numeric(tolerance=tolerance)
