"""A question that a passage answers, and the answer out of the passage."""

import re
from collections.abc import Sequence
from random import Random
from typing import Final

from corpus.synthetic.documents import Passage
from corpus.synthetic.drafts import Attempt, Draft, Dropped
from corpus.synthetic.literals import literals
from corpus.synthetic.overlap import share_of
from corpus.synthetic.parsing import read_line
from corpus.synthetic.recipes.recipe import RecipeName, turn_of
from corpus.synthetic.rows import question_record
from corpus.synthetic.writing import Ask

_EXAMPLE = (
    "The library opens at nine on weekdays and at ten on Saturdays. Members may borrow six books for four weeks; a "
    "late book costs twenty cents a day.",
    "How many books may a library member borrow, and for how long?",
    "A member may borrow six books for four weeks.",
)
_QUESTION_TOKENS = 64
_ANSWER_TOKENS = 160
_MIN_SUPPORT = 0.6
"""Share of an answer's words that stand in the passage; an answer is mostly made of them, with words of its own."""
_MIN_TOPIC = 0.25
"""Share of a question's words that stand in the passage."""
_POINTING = re.compile(
    r"\b(?:the|this|that|above|given|following|provided)\s+(?:\w+\s+)?(?:text|passage|paragraph|article|document|"
    r"excerpt|section|sentence|author|context|statement)s?\b",
    re.IGNORECASE,
)


class Questions:
    """Asks about passages.

    Args:
        passages: At least one.
        seed: Of the passages' order.
    """

    name: Final[RecipeName] = "questions"

    def __init__(self, passages: Sequence[Passage], seed: int) -> None:
        self._passages = passages
        self._seed = seed

    def attempt(self, number: int, random: Random) -> Attempt:
        """Ask for a question, then for its answer."""
        passage = self._passages[turn_of(number, len(self._passages), self._seed)]
        reply = yield _ask(passage.text, None, random)
        question = read_line(reply, ("Text:", "Answer:"))
        _check_question(question, passage)
        reply = yield _ask(passage.text, question, random)
        answer = read_line(reply, ("Text:", "Question:"))
        _check_answer(answer, passage)
        record = question_record(question, answer, file=passage.file, line=passage.line)
        return Draft(record=record, sources=(passage.place,), source_text=passage.text)


def _ask(text: str, question: str | None, random: Random) -> Ask:
    example, asked, answered = _EXAMPLE
    shown = f"Text:\n{example}\n\nQuestion: {asked}\nAnswer: {answered}\n\nText:\n{text}\n\nQuestion:"
    return Ask(
        text=shown if question is None else f"{shown} {question}\nAnswer:",
        max_tokens=_QUESTION_TOKENS if question is None else _ANSWER_TOKENS,
        stop=("\n",),
        seed=random.getrandbits(31),
    )


def _check_question(question: str, passage: Passage) -> None:
    if not question.endswith(("?", "\uff1f")):
        raise Dropped("other_kind", question)
    if _POINTING.search(question):
        raise Dropped("refers_to_text", question)
    if share_of(question, passage.text) < _MIN_TOPIC:
        raise Dropped("off_topic", question)


def _check_answer(answer: str, passage: Passage) -> None:
    if share_of(answer, passage.text) < _MIN_SUPPORT:
        raise Dropped("ungrounded", answer)
    known = passage.text.casefold()
    made_up = sorted(each for each in literals(answer) if any(char.isdigit() for char in each) and each not in known)
    if made_up:
        raise Dropped("ungrounded", answer, f"{made_up[0]!r} does not stand in it")
