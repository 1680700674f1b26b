import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.scorers.exact_match import exact_match, fold


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Paris", "paris"),
        (" Paris.\n", "paris"),
        ('"Paris"', "Paris"),
        ("**Paris**", "Paris"),
        ("\u201cParis\u201d", "paris"),
        ("card  arrival", "card arrival"),
        ("北京。", "北京"),
        ("\uff1f北京\uff01", "北京"),
        ("Ｐａｒｉｓ", "paris"),  # noqa: RUF001
        ("(42)", "42"),
    ],
)
def test_spelling_without_meaning_matches(text: str, reference: str) -> None:
    assert exact_match(text, reference) == 1.0


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Paris France", "Paris"),
        ("-3", "3"),
        (".5", "5"),
        ("50%", "50"),
        ("C#", "C"),
        ("", "x"),
        ("?", "!"),
        ("a-b", "ab"),
    ],
)
def test_what_means_something_does_not(text: str, reference: str) -> None:
    assert exact_match(text, reference) == 0.0


@given(st.text())
def test_every_text_matches_itself_with_space_around(text: str) -> None:
    assert exact_match(f" {text}\n", text) == 1.0
    assert fold(text).strip() == fold(text)
