import math

import pytest

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.sampler import ScoredContinuation
from evaluation.scorers.multiple_choice import MultipleChoice
from evaluation.scorers.scorer import Answer


def case(*texts: str, gold: int | None = 0) -> Case:
    choices = tuple((1,) * len(text.split()) for text in texts)
    return Case(
        index=5, prompt_text="?", reference="", choices=choices, choice_texts=texts, choice_context_ids=(1,), gold=gold
    )


def scored(*logprobs: float) -> ScoredContinuation:
    return ScoredContinuation(logprobs=logprobs, is_greedy=(False,) * len(logprobs))


def test_the_likeliest_choice_is_taken_whole_and_by_its_length() -> None:
    # The sums are -2 and -3; by character -2/2 and -3/11.
    answer = Answer(case=case("no", "yes of course"[:11], gold=1), choices=(scored(-2.0), scored(-1.0, -1.0, -1.0)))
    found = MultipleChoice().score(answer)
    assert found.values == {"acc": 0.0, "acc_norm": 1.0}
    assert (found.details["choice"], found.details["choice_normalised"], found.details["gold"]) == (0, 1, 1)
    assert found.details["choice_logprobs"] == [-2.0, -3.0]


def test_a_tie_goes_to_the_first() -> None:
    answer = Answer(case=case("ab", "cd"), choices=(scored(math.log(0.5)), scored(math.log(0.5))))
    assert MultipleChoice().score(answer).values == {"acc": 1.0, "acc_norm": 1.0}


@pytest.mark.parametrize("gold", [None, -1, 2])
def test_a_gold_that_is_no_choice_is_refused(gold: int | None) -> None:
    with pytest.raises(CaseError, match=f"case 5: gold is {gold}; it must be the right choice's index, 0 to 1"):
        MultipleChoice().check(case("ab", "cd", gold=gold))


def test_one_choice_is_none() -> None:
    with pytest.raises(CaseError, match="case 5 has 1 choices"):
        MultipleChoice().check(case("ab"))
