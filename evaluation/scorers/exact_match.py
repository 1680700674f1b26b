"""Whether an answer is the reference, up to spelling that carries no meaning."""

import unicodedata
from dataclasses import dataclass

from evaluation.scorers.scorer import Answer, ReferenceScorer, Score

TERMINAL = frozenset(".,;:!?\"'`*_。、·")
"""Marks that may stand around an answer, once NFKC has made full-width ones ASCII."""
PAIRED = frozenset({"Ps", "Pe", "Pi", "Pf"})
"""Unicode categories of brackets and quotation marks, which may stand there too."""


@dataclass(frozen=True)
class ExactMatch(ReferenceScorer):
    """Whether the answer is the case's completion, after `fold`."""

    metrics = ("exact_match",)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        return Score(values={"exact_match": exact_match(answer.text, answer.case.reference)})


def exact_match(text: str, reference: str) -> float:
    """Return 1.0 if both are equal after `fold`, otherwise 0.0."""
    return float(fold(text) == fold(reference))


def fold(text: str) -> str:
    """Fold a text: NFKC, case, white space, and punctuation around it.

    Signs that change a number stay: `-3`, `.5` and `50%` differ from `3`, `5` and `50`. A text of nothing but
    punctuation keeps it.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(folded)
    while start < end and (folded[start] == " " or _strippable(folded, start)):
        start += 1
    while end > start and (folded[end - 1] == " " or _strippable(folded, end - 1)):
        end -= 1
    return folded[start:end] or folded


def _strippable(text: str, place: int) -> bool:
    mark = text[place]
    if mark == "." and text[place + 1 : place + 2].isdigit():
        return False
    return mark in TERMINAL or unicodedata.category(mark) in PAIRED
