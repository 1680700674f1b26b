"""Whether an answer matches a pattern."""

import re
from typing import Literal

from evaluation.cases import Case
from evaluation.errors import CaseError, UnknownScorerError
from evaluation.sandbox.process import Sandbox, SandboxError
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_SECONDS = 2.0


class Regex(MeanScorer):
    """Whether a regular expression (Python's `re`) matches.

    Args:
        pattern: for cases without `pattern` in their fields.
        match: `search` looks for it anywhere in the answer, `full` wants all of it to match, without the white space
            around.
        ignore_case: of letters.
    """

    metrics = ("regex",)

    def __init__(
        self, *, pattern: str | None = None, match: Literal["search", "full"] = "search", ignore_case: bool = False
    ) -> None:
        if pattern is not None and (reason := _defect(pattern)):
            raise UnknownScorerError(
                f"The scorer 'regex': pattern {pattern[:80]!r} is no regular expression: {reason}."
            )
        self._pattern = pattern
        self._match = match
        self._ignore_case = ignore_case
        # A pattern and an answer can be such that matching never ends.
        self._sandbox = Sandbox("evaluation.sandbox.pattern", _SECONDS)

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        pattern = case.fields.get("pattern", self._pattern)
        if not isinstance(pattern, str):
            raise CaseError(
                f"case {case.index} has no pattern; give `pattern` in its fields or to the scorer 'regex', as text."
            )
        if reason := _defect(pattern):
            raise CaseError(
                f"case {case.index}: the pattern {pattern[:80]!r} is no regular expression: {reason}; correct it."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        request = {
            "pattern": answer.case.fields.get("pattern", self._pattern),
            "text": answer.text.strip() if self._match == "full" else answer.text,
            "full": self._match == "full",
            "ignore_case": self._ignore_case,
        }
        try:
            reply = self._sandbox.ask(request)
        except SandboxError as error:
            reply = {"error": str(error)}
        if "error" in reply:
            return Score(values={"regex": 0.0}, details={"regex_error": reply["error"]})
        return Score(values={"regex": float(reply["matches"])})


def _defect(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None
