"""chrF and chrF++ (Popović 2015, 2017) by sacrebleu, over 100, so that 1 is the most like every other score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sacrebleu.metrics.chrf import CHRF

from evaluation.cases import Case
from evaluation.results import CaseResult
from evaluation.scorers.corpus_level import answered
from evaluation.scorers.scorer import Answer, ReferenceScorer, Score


@dataclass(frozen=True)
class Chrf(ReferenceScorer):
    """chrF of all answers together; of one case its sentence chrF.

    Args:
        word_order: longest n-grams of words beside those of letters: 0 is chrF, 2 is chrF++.
    """

    word_order: Literal[0, 1, 2] = 0
    metrics = ("chrf",)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        found = CHRF(word_order=self.word_order).sentence_score(answer.text, [answer.case.reference])
        return Score(values={"chrf": found.score / 100})

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:
        """The corpus's chrF, which is no mean of sentences."""
        return {"chrf": answered(CHRF(word_order=self.word_order), cases, results)}
