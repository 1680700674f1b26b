"""F1 over words, as SQuAD measures answers (Rajpurkar et al. 2016; the formula of the 2.0 evaluation script)."""

import re
import string
import unicodedata
from collections import Counter
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.scorers.rouge import UNSPACED
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class F1(MeanScorer):
    """The best F1 against the case's completion and, if its fields have some, other right `answers`."""

    metrics = ("f1",)

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        answers = case.fields.get("answers", [])
        if not isinstance(answers, list) or not all(isinstance(each, str) for each in answers):
            raise CaseError(f"case {case.index}: the field 'answers' must be a list of texts, each a right answer.")
        if not case.reference.strip() and not answers:
            raise CaseError(
                f"case {case.index} has no completion, which f1 needs; give one, or `answers` in its fields."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        return Score(values={"f1": max(f1(answer.text, right) for right in _references(answer.case))})


def f1(text: str, reference: str) -> float:
    """Return the F1 of the words in common, 0 to 1; of texts without words, whether both have none."""
    said, right = words(text), words(reference)
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))


def words(text: str) -> list[str]:
    """Cut a text into lower-case words without punctuation and articles.

    ASCII is cut exactly as SQuAD does. Punctuation of all scripts is taken out, and a letter of a script without spaces
    is a word.
    """
    kept = "".join(mark for mark in text.lower() if not _is_punctuation(mark))
    return UNSPACED.sub(r" \g<0> ", _ARTICLES.sub(" ", kept)).split()


def _is_punctuation(mark: str) -> bool:
    return mark in string.punctuation or unicodedata.category(mark).startswith("P")


def _references(case: Case) -> list[str]:
    others = case.fields.get("answers")
    right = [case.reference] if case.reference.strip() else []
    return [*right, *map(str, others)] if isinstance(others, list) else right
