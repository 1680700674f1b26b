"""BLEU and chrF against sacrebleu called as its documentation does."""

import math
from typing import Literal

import pytest
import sacrebleu

from evaluation.scorers.bleu import Bleu
from evaluation.scorers.chrf import Chrf
from tests.evaluation.scorers.answers import aggregate, value

TEXTS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him.", "", "今天天气不错"]
REFERENCES = ["The dog bit the man.", "It was not unexpected.", "The man bit him first.", "Nothing.", "今天天气好"]


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char", "none"])
def test_corpus_bleu_is_sacrebleus(tokenize: Literal["13a", "intl", "zh", "char", "none"]) -> None:
    expected = sacrebleu.corpus_bleu(TEXTS, [REFERENCES], tokenize=tokenize).score
    assert aggregate(Bleu(tokenize=tokenize), TEXTS, REFERENCES) == {"bleu": expected / 100}


@pytest.mark.parametrize("word_order", [0, 1, 2])
def test_corpus_chrf_is_sacrebleus(word_order: Literal[0, 1, 2]) -> None:
    expected = sacrebleu.corpus_chrf(TEXTS, [REFERENCES], word_order=word_order).score
    assert aggregate(Chrf(word_order=word_order), TEXTS, REFERENCES) == {"chrf": expected / 100}


@pytest.mark.parametrize(("text", "reference"), list(zip(TEXTS, REFERENCES, strict=True)))
def test_a_cases_scores_are_sacrebleus_sentence_scores(text: str, reference: str) -> None:
    assert value(Bleu(), text, reference) == sacrebleu.sentence_bleu(text, [reference]).score / 100
    assert value(Chrf(), text, reference) == sacrebleu.sentence_chrf(text, [reference]).score / 100


def test_a_corpus_is_no_mean_of_sentences() -> None:
    sentences = [value(Bleu(), text, right) or 0.0 for text, right in zip(TEXTS, REFERENCES, strict=True)]
    assert aggregate(Bleu(), TEXTS, REFERENCES)["bleu"] != pytest.approx(sum(sentences) / len(sentences), abs=0.01)


def test_without_answers_there_is_no_score() -> None:
    assert math.isnan(Bleu().aggregate([], [])["bleu"])
    assert math.isnan(Chrf().aggregate([], [])["chrf"])
