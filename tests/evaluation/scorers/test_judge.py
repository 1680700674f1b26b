from collections.abc import Sequence

import pytest

from corpus.messages import Message
from evaluation.errors import JudgeRefusedError, JudgeRestingError, JudgeUnavailableError
from evaluation.judging.judge import DEFAULT_CRITERIA, Grade, Verdict
from evaluation.results import CaseResult
from evaluation.scorers.catalogue import create
from evaluation.scorers.judge import JudgeScorer
from evaluation.scorers.spec import ScorerSpec
from tests.evaluation.scorers.answers import make_answer, make_case


class MarkingJudge:
    """Marks by the length of an answer; is down while it is told to be."""

    name = "marker"

    def __init__(self) -> None:
        self.down = False
        self.failure: type[JudgeUnavailableError] = JudgeUnavailableError
        self.asked: list[tuple[Sequence[Message], str, str | None, Sequence[str]]] = []

    def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
        raise AssertionError((question, first, second))

    def grade(self, question: Sequence[Message], answer: str, reference: str | None, criteria: Sequence[str]) -> Grade:
        self.asked.append((question, answer, reference, criteria))
        if self.down:
            raise self.failure(self.name, "connection refused")
        if not answer:
            return Grade(score=None, reason="nothing to say")
        return Grade(score=len(answer) / 10, marks=(float(len(answer)),), reason="by length")


def test_a_mark_is_the_score_and_its_reason_is_kept() -> None:
    judge = MarkingJudge()
    scorer = create(ScorerSpec("judge", {"criteria": ["It is short."]}), judge)
    case = make_case("right", messages=({"role": "user", "content": "Why?"},))
    score = scorer.score(make_answer("four", case))
    assert score.values == {"judge": 0.4}
    assert score.details == {"judge": {"name": "marker", "marks": [4.0], "reason": "by length"}}
    assert judge.asked == [(({"role": "user", "content": "Why?"},), "four", "right", ("It is short.",))]


def test_a_reply_without_a_mark_leaves_the_case_out_of_the_mean() -> None:
    scorer = JudgeScorer(judge=MarkingJudge())
    cases = [make_case(index=0), make_case(index=1)]
    scores = [scorer.score(make_answer(text, case)) for text, case in zip(["", "12345"], cases, strict=True)]
    assert [(score.values["judge"], score.error) for score in scores] == [(None, None), (0.5, None)]
    results = [CaseResult(index=at, scores=score.values) for at, score in enumerate(scores)]
    assert scorer.aggregate(cases, results) == {"judge": 0.5}


def test_a_judge_that_is_down_is_an_error_of_the_case_and_soon_asked_no_more() -> None:
    judge = MarkingJudge()
    judge.down = True
    scorer = JudgeScorer(judge=judge)
    scores = [scorer.score(make_answer("four", make_case())) for _ in range(5)]
    assert {score.error for score in scores} == {"the judge 'marker' cannot be asked: connection refused."}
    assert {score.values["judge"] for score in scores} == {None}
    assert len(judge.asked) == 3


@pytest.mark.parametrize("failure", [JudgeRefusedError, JudgeRestingError])
def test_what_is_refused_or_not_asked_is_no_failure_of_the_judge(failure: type[JudgeUnavailableError]) -> None:
    judge = MarkingJudge()
    judge.down, judge.failure = True, failure
    scorer = JudgeScorer(judge=judge)
    assert all(scorer.score(make_answer("four", make_case())).error for _ in range(5))
    judge.down = False
    assert scorer.score(make_answer("four", make_case())).values == {"judge": 0.4}


def test_failures_that_pass_are_forgotten() -> None:
    judge = MarkingJudge()
    scorer = JudgeScorer(judge=judge)
    for down in (True, True, False, True, True, False):
        judge.down = down
        assert (scorer.score(make_answer("four", make_case())).error is not None) is down
    assert judge.asked[0][3] == DEFAULT_CRITERIA


def test_without_a_judge_every_case_says_so() -> None:
    score = JudgeScorer().score(make_answer("four", make_case()))
    assert score.error == "no judge was named for this evaluation"
