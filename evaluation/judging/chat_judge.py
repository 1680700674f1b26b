"""A judge that is a chat model, wherever it runs."""

from collections.abc import Sequence

from corpus.messages import Message
from evaluation.judging.chat import Chat
from evaluation.judging.judge import DEFAULT_CRITERIA, HIGHEST, LOWEST, Grade, Verdict
from evaluation.judging.parsing import read_marks, read_winner
from evaluation.judging.prompts import comparison, grading
from evaluation.settings import GenerationSettings

_SETTINGS = GenerationSettings(max_tokens=512)
"""Greedy, so that the same answers are judged alike; long enough for the reasons that come first."""


class ChatJudge:
    """Asks a chat model and reads its reply. Implements `Judge`.

    Args:
        chat: the model.
        settings: how it answers.
    """

    def __init__(self, chat: Chat, settings: GenerationSettings = _SETTINGS) -> None:
        self._chat = chat
        self._settings = settings

    @property
    def name(self) -> str:
        """The model that judges."""
        return self._chat.name

    def compare(self, question: Sequence[Message], first: str, second: str) -> Verdict:
        """See `Judge`."""
        reply = self._chat.answer(comparison(question, first, second), self._settings).text
        return Verdict(winner=read_winner(reply), reason=reply.strip())

    def grade(
        self,
        question: Sequence[Message],
        answer: str,
        reference: str | None = None,
        criteria: Sequence[str] = DEFAULT_CRITERIA,
    ) -> Grade:
        """See `Judge`."""
        criteria = criteria or DEFAULT_CRITERIA
        reply = self._chat.answer(grading(question, answer, reference, criteria), self._settings).text
        marks = read_marks(reply, len(criteria))
        if marks is None:
            return Grade(score=None, reason=reply.strip())
        mean = sum(marks) / len(marks)
        return Grade(score=(mean - LOWEST) / (HIGHEST - LOWEST), marks=marks, reason=reply.strip())
