"""A model's opinion of an answer."""

from collections.abc import Sequence

from pydantic import JsonValue

from corpus.messages import Message
from evaluation.cases import Case
from evaluation.errors import JudgeRefusedError, JudgeRestingError, JudgeUnavailableError
from evaluation.judging.judge import DEFAULT_CRITERIA, Judge
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_PATIENCE = 3
"""Failures in a row after which a judge is asked no more: each may have waited for its time limit."""


class JudgeScorer(MeanScorer):
    """A judge's mark for each answer, from 0 to 1.

    Args:
        judge: without one, or when it cannot be asked, cases have an error in place of a score. It is the evaluation's
            and no parameter of a specification.
        criteria: what marks are given for; the score is their mean.
    """

    metrics = ("judge",)

    def __init__(self, *, judge: Judge | None = None, criteria: tuple[str, ...] = DEFAULT_CRITERIA) -> None:
        self._judge = judge
        self._criteria = criteria or DEFAULT_CRITERIA
        self._failures = 0
        self._reason = ""

    def score(self, answer: Answer) -> Score:
        """See `Scorer`; a reply without a mark that can be read leaves the case without a value."""
        if self._judge is None:
            return _missing("no judge was named for this evaluation")
        if self._failures >= _PATIENCE:
            return _missing(self._reason)
        case = answer.case
        try:
            grade = self._judge.grade(_question(case), answer.text, case.reference or None, self._criteria)
        except (JudgeRefusedError, JudgeRestingError) as error:
            # Neither took long, nor says anything of the next case.
            return _missing(str(error))
        except JudgeUnavailableError as error:
            self._failures += 1
            self._reason = str(error)
            return _missing(self._reason)
        self._failures = 0
        said: dict[str, JsonValue] = {"name": self._judge.name, "marks": [*grade.marks], "reason": grade.reason}
        return Score(values={"judge": grade.score}, details={"judge": said})


def _missing(reason: str) -> Score:
    return Score(values={"judge": None}, error=reason)


def _question(case: Case) -> Sequence[Message]:
    return case.messages or ({"role": "user", "content": case.prompt_text},)
