from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from service.engine.request import SamplingParams
from service.engine.sampling.filters import Limits, filtered


def params(**values: Any) -> SamplingParams:
    return SamplingParams(max_tokens=1, **{"temperature": 1.0, **values})


def random_logits(rows: int, size: int, spread: float = 3.0, seed: int = 2) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * spread


def left(logits: torch.Tensor, limits: list[SamplingParams]) -> torch.Tensor:
    """The distributions that draws are made from."""
    temperatures = torch.tensor([[each.temperature] for each in limits])
    probabilities = (logits / temperatures).softmax(-1)
    found = torch.zeros_like(probabilities, dtype=torch.float64)
    for rows, candidates in filtered(probabilities, Limits.of(limits, logits.device)):
        found[rows] = torch.zeros(len(rows), logits.shape[1], dtype=torch.float64).scatter_(
            1, candidates.token_ids_RC, candidates.weights_RC
        )
    return (found / found.sum(-1, keepdim=True)).float()


def warped(logits: torch.Tensor, limits: SamplingParams) -> torch.Tensor:
    """What transformers would sample from, its warpers in vLLM's order."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(limits.temperature)])
    if limits.min_p:
        warpers.append(MinPLogitsWarper(limits.min_p))
    if limits.top_k:
        warpers.append(TopKLogitsWarper(limits.top_k))
    if limits.top_p < 1:
        warpers.append(TopPLogitsWarper(limits.top_p))
    no_ids: Any = torch.zeros(1, 1, dtype=torch.long)
    row: Any = logits[None].clone()
    found: torch.Tensor = warpers(no_ids, row)[0].softmax(-1)
    return found


LIMITS = st.builds(
    params,
    temperature=st.floats(0.3, 2),
    top_k=st.integers(0, 70) | st.sampled_from([255, 256, 257, 2000]),
    top_p=st.floats(0.05, 0.99) | st.just(1.0),
    min_p=st.sampled_from([0.0, 1e-6, 0.01, 0.1, 0.5, 1.0]),
)


@given(limits=st.lists(LIMITS, min_size=1, max_size=4), size=st.sampled_from([64, 1000]))
def test_the_distribution_is_that_of_transformers(limits: list[SamplingParams], size: int) -> None:
    # Flat enough that sorting the likeliest only is at times not enough.
    logits = random_logits(len(limits), size, spread=1.5)
    found = left(logits, limits)
    for row, each in enumerate(limits):
        torch.testing.assert_close(found[row], warped(logits[row], each), rtol=1e-4, atol=1e-6)


@given(limits=st.lists(LIMITS, min_size=2, max_size=5))
def test_together_is_bit_for_bit_as_alone(limits: list[SamplingParams]) -> None:
    logits = random_logits(len(limits), 1000, spread=1.5)
    alone = [left(logits[row : row + 1], [each]) for row, each in enumerate(limits)]
    assert torch.equal(left(logits, limits), torch.cat(alone))


def test_the_limits_follow_one_another_on_what_is_left() -> None:
    # After top_k 2 the first has 0.625 of the rest; of everything it has only 0.5.
    logits = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
    assert left(logits, [params(top_k=2, top_p=0.6)]).count_nonzero() == 1
    assert left(logits, [params(min_p=0.5, top_p=0.6)]).count_nonzero() == 1
    assert left(logits, [params(top_p=0.6)]).count_nonzero() == 2


@pytest.mark.parametrize("limits", [params(top_k=3), params(top_p=2.5 / 1000)])
def test_of_equal_tokens_the_first_stay(limits: SamplingParams) -> None:
    assert left(torch.zeros(1, 1000), [limits])[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_equal_tokens_at_the_edge_of_the_candidates_are_not_lost() -> None:
    logits = torch.zeros(1, 1000)
    logits[0, 900:] = 1.0
    found = left(logits, [params(top_k=256)])[0].nonzero().flatten().tolist()
    assert found == [*range(156), *range(900, 1000)]


def test_the_likeliest_token_always_stays() -> None:
    logits = random_logits(1, 300)
    assert left(logits, [params(top_p=1e-12)])[0, logits.argmax()] == 1
