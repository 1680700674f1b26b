from collections.abc import Sequence

import pytest

from corpus.messages import Message, content_text
from corpus.records import Record
from corpus.synthetic.drafts import Draft
from corpus.synthetic.recipes.recipe import RECIPES, RecipeName
from evaluation.errors import JudgeRefusedError
from evaluation.judging.judge import DEFAULT_CRITERIA, Grade, Verdict
from service.generation.judging import judging_by


class FakeJudge:
    """Keeps what it is shown."""

    name = "judge:1"
    shown: tuple[str, str] = ("", "")

    def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
        """Never asked here."""
        raise NotImplementedError

    def grade(
        self,
        question: Sequence[Message],
        answer: str,
        reference: str | None = None,
        criteria: Sequence[str] = DEFAULT_CRITERIA,
    ) -> Grade:
        """See `Judge`."""
        assert reference is None
        assert criteria
        self.shown = (content_text(question[-1]), answer)
        return Grade(score=0.75, reason="fine")


@pytest.mark.parametrize(
    ("recipe", "shown"),
    [
        ("paraphrase", ("the source", "When?")),
        ("self-instruct", ("When?", "Soon.")),
        ("questions", ("the source\n\nQuestion: When?", "Soon.")),
    ],
)
def test_a_judge_sees_what_the_recipe_must_get_right(recipe: RecipeName, shown: tuple[str, str]) -> None:
    judge = FakeJudge()
    messages = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "Soon."})
    record = Record(kind="chat", file="a", line=1, row={}, messages=messages)
    judging = judging_by(judge, recipe, 0.5)

    opinion = judging.rate(Draft(record=record, sources=("a:1",), source_text="the source"))

    assert (judging.name, opinion.score, opinion.reason) == ("judge:1", 0.75, "fine")
    assert judge.shown == shown


def test_a_draft_that_the_judge_refuses_has_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Grade:
        raise JudgeRefusedError("judge:1", "it answered with status 413")

    monkeypatch.setattr(FakeJudge, "grade", refuse)
    messages = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "Soon."})
    record = Record(kind="chat", file="a", line=1, row={}, messages=messages)
    opinion = judging_by(FakeJudge(), "self-instruct", 0.5).rate(Draft(record=record, sources=(), source_text=""))

    assert (opinion.score, "status 413" in opinion.reason) == (None, True)


def test_every_recipe_can_be_judged() -> None:
    for recipe in RECIPES:
        assert judging_by(FakeJudge(), recipe, 0.5).least == 0.5
