import pytest

from evaluation.errors import CaseError, UnknownScorerError
from evaluation.scorers.regex import Regex
from tests.evaluation.scorers.answers import make_answer, make_case, value


def test_a_pattern_is_found_anywhere_or_is_the_whole_answer() -> None:
    assert value(Regex(pattern=r"\d+"), "order 57 came") == 1.0
    assert value(Regex(pattern=r"\d+", match="full"), "order 57 came") == 0.0
    assert value(Regex(pattern=r"\d+", match="full"), " 57\n") == 1.0
    assert value(Regex(pattern="PARIS"), "Paris") == 0.0
    assert value(Regex(pattern="PARIS", ignore_case=True), "Paris") == 1.0


def test_a_cases_own_pattern_comes_first() -> None:
    assert value(Regex(pattern="a"), "b", fields={"pattern": "b"}) == 1.0


def test_a_match_that_never_ends_scores_0_and_says_so() -> None:
    score = Regex(pattern="^(a+)+$").score(make_answer("a" * 60 + "b", make_case()))
    assert score.values == {"regex": 0.0}
    assert score.details == {"regex_error": "it takes too long"}


def test_a_match_that_needs_too_much_memory_scores_0_and_says_so() -> None:
    score = Regex(pattern="(?:a?){4000000000}").score(make_answer("a" * 60, make_case()))
    assert score.values == {"regex": 0.0}
    assert score.details["regex_error"]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownScorerError, match=r"'\(' is no regular expression"):
        Regex(pattern="(")
    with pytest.raises(CaseError, match=r"case 6: the pattern '\(' is no regular expression"):
        value(Regex(), "", index=6, fields={"pattern": "("})
    with pytest.raises(CaseError, match="case 6 has no pattern"):
        value(Regex(), "", index=6)
