from typing import Any

import pytest

from evaluation.cases import Case
from evaluation.findings.kinds import findings_of
from evaluation.results import CaseResult

LONG = "The parcel left our warehouse on Monday and will be with you by the end of the week."


def found(text: str | None, reference: str = "", prompt: str = "", **more: Any) -> tuple[str, ...]:
    case = Case(index=0, prompt_text=prompt, reference=reference)
    return findings_of(case, CaseResult(index=0, text=text, **more))


def test_an_answer_like_the_expected_one_has_no_findings() -> None:
    assert found(LONG, LONG, finish_reason="stop") == ()


def test_a_case_without_an_answer_has_none() -> None:
    assert found(None, LONG) == ()


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_empty_and_nothing_else(text: str) -> None:
    assert found(text, LONG) == ("empty",)
    assert found(text, '{"a": 1}') == ("empty",)


def test_an_answer_that_was_cut_is_too_long() -> None:
    assert found("Paris", "Paris", finish_reason="length") == ("too_long",)


def test_an_answer_is_too_long_or_short_beside_the_expected_one() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert found(" ".join(words * 3), "seven eight") == ("too_long",)
    assert found(" ".join(words), "seven eight") == ()
    assert found("Monday", LONG) == ("too_short",)
    assert found("Monday", "on Monday or so") == ()
    assert found(" ".join(words * 3), "") == ()


@pytest.mark.parametrize("text", ["no no no no no no no no", "今天天气好" * 5, "I see the cat. " * 6])
def test_going_round_in_circles_is_repetition(text: str) -> None:
    assert "repetition" in found(text, "yes")
    assert found(text, text) == ()


@pytest.mark.parametrize(
    ("text", "reference", "details"),
    [
        ("billing", '{"queue": "billing"}', {}),
        ('{"queue": "billing"', '{"queue": "billing"}', {}),
        ("billing", "billing", {"json_error": "invalid JSON"}),
        ("SELEC 1", "SELECT 1", {"sql_error": 'near "SELEC": syntax error'}),
        ("many", "4", {"number_error": "there is no number"}),
    ],
)
def test_what_cannot_be_read_is_off_format(text: str, reference: str, details: dict[str, str]) -> None:
    assert found(text, reference, details=details) == ("off_format",)


@pytest.mark.parametrize(
    ("text", "reference", "details"),
    [
        ('{"queue": "returns"}', '{"queue": "billing"}', {}),
        ("SELECT c FROM t", "SELECT a FROM t", {"sql_error": "no such column: c"}),
        ("5", "4", {"number": "5"}),
    ],
)
def test_what_is_wrong_is_not_off_format_for_that(text: str, reference: str, details: dict[str, str]) -> None:
    assert found(text, reference, details=details) == ()


def test_a_misspelled_word_is_found() -> None:
    assert found("You will recieve the parcel at your home on Monday.", LONG) == ("misspelling",)
