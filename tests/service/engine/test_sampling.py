from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from service.engine.request import SamplingParams
from service.engine.sampling import RowSampler

LOGITS = torch.randn(64, generator=torch.Generator().manual_seed(2)) * 3


def warped(params: SamplingParams) -> torch.Tensor:
    """The probabilities that transformers would sample from."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(params.temperature)])
    if params.top_k:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        warpers.append(MinPLogitsWarper(params.min_p))
    no_ids: Any = torch.zeros(1, 1, dtype=torch.long)
    logits: Any = LOGITS[None].clone()
    found: torch.Tensor = warpers(no_ids, logits)[0].softmax(-1)
    return found


@settings(deadline=None)
@given(
    temperature=st.floats(0.3, 2),
    top_k=st.integers(0, 70),
    top_p=st.floats(0.05, 1),
    min_p=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
)
def test_the_distribution_is_that_of_transformers(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    params = SamplingParams(max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    found = RowSampler(params)._filtered(torch.softmax(LOGITS / temperature, dim=-1))
    torch.testing.assert_close(found / found.sum(), warped(params), rtol=1e-4, atol=1e-6)


def test_the_limits_follow_one_another_on_what_is_left() -> None:
    # After top_k 2 the first has 0.625 of the rest; of everything it has only 0.5.
    logits = torch.tensor([0.5, 0.3, 0.1, 0.1]).log()
    sampler = RowSampler(SamplingParams(max_tokens=1, temperature=1, top_k=2, top_p=0.6))
    assert sampler._filtered(logits.softmax(-1)).count_nonzero() == 1


@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-6])
def test_no_temperature_takes_the_likeliest(temperature: float) -> None:
    sampler = RowSampler(SamplingParams(max_tokens=1, temperature=temperature))
    assert sampler.choose(LOGITS) == int(LOGITS.argmax())


def test_draws_follow_the_probabilities() -> None:
    sampler = RowSampler(SamplingParams(max_tokens=1, temperature=1.0, seed=1))
    logits = torch.tensor([0.7, 0.2, 0.1]).log()
    counts = torch.bincount(torch.tensor([sampler.choose(logits) for _ in range(3000)]), minlength=3)
    assert (counts / 3000).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_tokens_that_are_ruled_out_are_never_drawn() -> None:
    sampler = RowSampler(SamplingParams(max_tokens=1, temperature=5.0, seed=1))
    logits = torch.tensor([0.0, -torch.inf, 0.0])
    assert {sampler.choose(logits) for _ in range(200)} == {0, 2}


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 + 1, 10**30])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    params = SamplingParams(max_tokens=1, temperature=1.0, seed=seed)
    first, second = RowSampler(params), RowSampler(params)
    assert [first.choose(LOGITS) for _ in range(20)] == [second.choose(LOGITS) for _ in range(20)]


def test_without_a_seed_each_request_draws_its_own() -> None:
    params = SamplingParams(max_tokens=1, temperature=1.0)
    draws = {RowSampler(params).choose(LOGITS) for _ in range(40)}
    assert len(draws) > 1
