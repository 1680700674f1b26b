"""What can be wrong with an answer, each by its own rule. The rules would rather miss one than accuse."""

from collections.abc import Callable, Mapping
from typing import Final

from corpus.rows import parse_json
from corpus.synthetic.parsing import goes_round
from evaluation.cases import Case
from evaluation.findings.spelling import misspelled
from evaluation.results import CaseResult
from evaluation.scorers.rouge import WordTokenizer

_LONGEST, _SLACK_WORDS = 3, 20
"""An answer is too long with more words than this many times the expected ones and these on top."""
_SHORTEST, _LONG_WORDS = 3, 8
"""An answer is too short with fewer words than one in this many of the expected ones, if those are as many as that."""
_UNREADABLE = ("json_error", "schema_error", "number_error")
"""Details of scorers that could not read an answer."""
_NO_QUERY = ("syntax error", "incomplete input", "unrecognized token", "there is no query", "one statement")


def findings_of(case: Case, result: CaseResult) -> tuple[str, ...]:
    """The kinds of what is wrong with an answer, the plainest first; none where nothing was generated."""
    if result.text is None:
        return ()
    return tuple(kind for kind, holds in KINDS.items() if holds(case, result, result.text))


def _empty(case: Case, result: CaseResult, text: str) -> bool:  # noqa: ARG001
    return not text.strip()


def _too_long(case: Case, result: CaseResult, text: str) -> bool:
    if result.finish_reason == "length":
        return True
    return bool(case.reference) and _num_words(text) > _LONGEST * _num_words(case.reference) + _SLACK_WORDS


def _too_short(case: Case, result: CaseResult, text: str) -> bool:  # noqa: ARG001
    expected = _num_words(case.reference)
    return bool(text.strip()) and expected >= _LONG_WORDS and _SHORTEST * _num_words(text) < expected


def _repetition(case: Case, result: CaseResult, text: str) -> bool:  # noqa: ARG001
    # In words of any script; what the right answer repeats may be repeated.
    return goes_round(_spaced(text)) and not goes_round(_spaced(case.reference))


def _off_format(case: Case, result: CaseResult, text: str) -> bool:
    if not text.strip():
        return False
    sql_error = str(result.details.get("sql_error", ""))
    if any(name in result.details for name in _UNREADABLE) or any(sign in sql_error for sign in _NO_QUERY):
        return True
    return _is_json_container(case.reference) and not _is_json_container(text)


def _misspelling(case: Case, result: CaseResult, text: str) -> bool:  # noqa: ARG001
    return bool(misspelled(text, (case.prompt_text, case.reference)))


KINDS: Final[Mapping[str, Callable[[Case, CaseResult, str], bool]]] = {
    "empty": _empty,
    "too_long": _too_long,
    "too_short": _too_short,
    "repetition": _repetition,
    "off_format": _off_format,
    "misspelling": _misspelling,
}
"""`too_long`: cut at the limit, or far longer than expected; `off_format`: a scorer or the expected form of JSON cannot
be read in it."""


def _num_words(text: str) -> int:
    return len(WordTokenizer().tokenize(text))


def _spaced(text: str) -> str:
    return " ".join(WordTokenizer().tokenize(text))


def _is_json_container(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict | list)
    except ValueError:
        return False
