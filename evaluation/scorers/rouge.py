"""ROUGE-L (Lin 2004): the longest common subsequence of words, as an F1."""

import re
import unicodedata
from dataclasses import dataclass

from rouge_score.tokenize import tokenize as tokenize_ascii

from evaluation.scorers.scorer import Answer, ReferenceScorer, Score

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Han
)
"""A letter of a script that puts no spaces between words."""


class WordTokenizer:
    """Words of any script, in rouge_score's tokenizer interface.

    rouge_score drops everything outside a-z and 0-9. Here a token is a run of letters, digits and combining marks, or
    one letter of a script that puts no spaces between words. ASCII text is cut exactly as rouge_score does.
    """

    def tokenize(self, text: str) -> list[str]:
        """Cut a text into lower-case tokens."""
        if text.isascii():
            tokens: list[str] = tokenize_ascii(text, None)
            return tokens
        folded = UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", text).lower())
        return "".join(mark if unicodedata.category(mark)[0] in "LNM" else " " for mark in folded).split()


@dataclass(frozen=True)
class RougeL(ReferenceScorer):
    """ROUGE-L between the answer and the case's completion."""

    metrics = ("rouge_l",)

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        return Score(values={"rouge_l": rouge_l(answer.text, answer.case.reference)})


def rouge_l(text: str, reference: str) -> float:
    """Return the F1 of ROUGE-L between 0 and 1, without stemming; 0 where either has no words."""
    # Brings nltk and with it scipy: seconds that commands which score nothing need not wait.
    from rouge_score.rouge_scorer import RougeScorer

    scores = RougeScorer(["rougeL"], tokenizer=WordTokenizer()).score(reference, text)
    return float(scores["rougeL"].fmeasure)
