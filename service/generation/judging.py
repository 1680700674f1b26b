"""A judge's grades as opinions about drafts."""

from collections.abc import Callable, Sequence
from typing import Final

from corpus.messages import Message
from corpus.synthetic.drafts import Draft
from corpus.synthetic.judging import Judging, Opinion
from corpus.synthetic.recipes.recipe import RecipeName
from evaluation.errors import JudgeRefusedError
from evaluation.judging.judge import Judge

_CRITERIA: Final[dict[RecipeName, tuple[str, ...]]] = {
    "paraphrase": (
        "The answer says the same as the user's message in other words: whoever wrote the one could have written the "
        "other, and the same reply would be right for both.",
    ),
    "self-instruct": (
        "The user's message is a sensible request that can be understood as it stands.",
        "The answer is correct and complete.",
    ),
    "questions": (
        "The question can be understood without the text.",
        "The answer is correct and complete by what the text says.",
    ),
}


def judging_by(judge: Judge, recipe: RecipeName, least: float) -> Judging:
    """A judge for drafts of a recipe. It raises `JudgeUnavailableError` where it cannot be asked."""
    asked = _ASKED[recipe]

    def opinion(draft: Draft) -> Opinion:
        question, answer = asked(draft)
        try:
            grade = judge.grade(question, answer, None, _CRITERIA[recipe])
        except JudgeRefusedError as error:
            return Opinion(score=None, reason=str(error))
        return Opinion(score=grade.score, reason=grade.reason)

    return Judging(name=judge.name, rate=opinion, least=least)


def _paraphrase(draft: Draft) -> tuple[Sequence[Message], str]:
    return ({"role": "user", "content": draft.source_text},), str(draft.record.prompt_messages[-1]["content"])


def _whole_row(draft: Draft) -> tuple[Sequence[Message], str]:
    return draft.record.prompt_messages, draft.record.completion


def _with_passage(draft: Draft) -> tuple[Sequence[Message], str]:
    asked = f"{draft.source_text}\n\nQuestion: {draft.record.prompt}"
    return ({"role": "user", "content": asked},), draft.record.completion


_ASKED: Final[dict[RecipeName, Callable[[Draft], tuple[Sequence[Message], str]]]] = {
    "paraphrase": _paraphrase,
    "self-instruct": _whole_row,
    "questions": _with_passage,
}
