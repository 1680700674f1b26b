import math

import pytest

from evaluation.cases import Case
from evaluation.errors import SamplerError
from evaluation.sampler import ScoredContinuation
from evaluation.scorers.loss import LossSum, loss_sum


def case(length: int, labelled: tuple[bool, ...] | None = None) -> Case:
    ids = tuple(range(length))
    return Case(index=4, prompt_text="", reference="", context_ids=(1,), continuation_ids=ids, labelled=labelled)


def scored(*logprobs: float) -> ScoredContinuation:
    return ScoredContinuation(logprobs=logprobs, is_greedy=tuple(logprob > -1 for logprob in logprobs))


def test_the_loss_is_summed_over_labelled_tokens_only() -> None:
    result = loss_sum(case(4, (True, False, True, True)), scored(-0.5, -100.0, -1.5, -0.25))
    assert result == LossSum(nll=2.25, num_tokens=3, num_greedy=2)
    assert result.loss == 0.75
    assert result.token_accuracy == pytest.approx(2 / 3)


def test_without_marks_every_token_counts() -> None:
    assert loss_sum(case(2), scored(-1.0, -3.0)).loss == 2.0


def test_an_impossible_token_makes_the_loss_infinite() -> None:
    assert loss_sum(case(1), scored(-math.inf)).loss == math.inf


def test_no_labelled_tokens_have_no_loss() -> None:
    empty = loss_sum(case(2, (False, False)), scored(-1.0, -1.0))
    assert math.isnan(empty.loss)
    assert math.isnan(empty.token_accuracy)


@pytest.mark.parametrize(
    "answer",
    [
        scored(-1.0),
        ScoredContinuation(logprobs=(-1.0, -1.0), is_greedy=(True,)),
        scored(-1.0, math.nan),
        scored(-1.0, 0.5),
    ],
)
def test_scores_that_do_not_fit_are_the_samplers_fault(answer: ScoredContinuation) -> None:
    with pytest.raises(SamplerError, match="case 4"):
        loss_sum(case(2), answer)
