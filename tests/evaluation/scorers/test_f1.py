import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.errors import CaseError
from evaluation.scorers.f1 import F1, f1, words
from tests.evaluation.scorers.answers import value

ASCII = st.text(st.characters(max_codepoint=127), max_size=60)
SENTENCES = st.lists(st.sampled_from(["the", "Cat's", "sat", "an", "A", "mat.", "3.5", "-", "sat"]), max_size=12).map(
    " ".join
)


def squad_f1(text: str, reference: str) -> float:
    """`compute_f1` of SQuAD's evaluate-v2.0.py."""

    def normalised(answer: str) -> list[str]:
        bare = "".join(mark for mark in answer.lower() if mark not in set(string.punctuation))
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", bare).split()

    gold, predicted = normalised(reference), normalised(text)
    num_same = sum((Counter(gold) & Counter(predicted)).values())
    if not gold or not predicted:
        return int(gold == predicted)
    if num_same == 0:
        return 0
    precision, recall = num_same / len(predicted), num_same / len(gold)
    return (2 * precision * recall) / (precision + recall)


@given(text=st.one_of(ASCII, SENTENCES), reference=st.one_of(ASCII, SENTENCES))
def test_ascii_scores_are_those_of_squad(text: str, reference: str) -> None:
    assert f1(text, reference) == pytest.approx(squad_f1(text, reference), abs=1e-12)


def test_a_worked_example() -> None:
    # "cat near mat" against "cat sat on mat": 2 of 3 words and 2 of 4.
    assert f1("The cat near the mat.", "the cat sat on a mat") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("北京。", ["北", "京"]), ("«Café»", ["café"]), ("“The end”", ["end"]), ("한국어 문장", ["한국어", "문장"])],
)
def test_other_scripts_are_cut_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_the_best_of_several_right_answers_counts() -> None:
    assert value(F1(), "in Lyon", "Paris", fields={"answers": ["in Lyon", "Nantes"]}) == 1.0


@pytest.mark.parametrize("answers", ["Lyon", [1], {"a": "b"}])
def test_answers_that_are_no_texts_are_refused_by_case(answers: object) -> None:
    with pytest.raises(CaseError, match="case 7: the field 'answers'"):
        value(F1(), "", "", index=7, fields={"answers": answers})
