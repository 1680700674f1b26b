from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from corpus.shingles import words
from corpus.synthetic.overlap import WordWeights, common_length, rouge_l, share_of

TEXTS = st.lists(st.sampled_from(["card", "where", "is", "my", "new", "pin"]), max_size=80)


@given(TEXTS, TEXTS)
def test_rouge_l_is_that_of_the_reference_library(first: list[str], second: list[str]) -> None:
    expected = RougeScorer(["rougeL"]).score(" ".join(first), " ".join(second))["rougeL"].fmeasure

    assert abs(rouge_l(words(" ".join(first)), words(" ".join(second))) - expected) < 1e-12


def test_the_common_subsequence_keeps_the_order() -> None:
    assert common_length(["a", "b", "c", "d"], ["d", "a", "x", "c"]) == 2


def test_a_share_is_of_the_distinct_words_of_the_first_text() -> None:
    assert share_of("my card, my new card", "a card that is new") == 2 / 3
    assert share_of("", "a card") == 0


def test_rare_words_weigh_more_than_those_that_every_text_holds() -> None:
    weights = WordWeights(["where is my card", "where is my transfer", "where is my refund"])

    assert weights.share("where is my refund", "refund") > weights.share("where is my refund", "where")
