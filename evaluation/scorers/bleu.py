"""BLEU (Papineni et al. 2002) by sacrebleu, over 100, so that 1 is the most like every other score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sacrebleu.metrics.bleu import BLEU

from evaluation.cases import Case
from evaluation.results import CaseResult
from evaluation.scorers.corpus_level import answered
from evaluation.scorers.scorer import Answer, ReferenceScorer, Score


@dataclass(frozen=True)
class Bleu(ReferenceScorer):
    """BLEU of all answers together; of one case its sentence BLEU, with the orders of n-grams that it has.

    Args:
        tokenize: sacrebleu's tokenizer: `13a` is that of WMT, `intl` cuts all scripts' punctuation, `zh` is for
            Chinese, `char` for any language without spaces.
    """

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    metrics = ("bleu",)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        sentence = BLEU(tokenize=self.tokenize, effective_order=True)
        return Score(values={"bleu": sentence.sentence_score(answer.text, [answer.case.reference]).score / 100})

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:
        """The corpus's BLEU, which is no mean of sentences."""
        return {"bleu": answered(BLEU(tokenize=self.tokenize), cases, results)}
