from typing import Any

import pytest
import torch

from service.engine.request import SamplingParams
from service.engine.sampling.draws import draw
from service.engine.sampling.state import SamplingState

NUM_DRAWS = 4000


def state(seed: int | None = 1, **values: Any) -> SamplingState:
    params = SamplingParams(max_tokens=1, seed=seed, **{"temperature": 1.0, **values})
    return SamplingState(params, (), (), 1 << 20)


@pytest.mark.parametrize("limits", [{}, {"top_k": 3}, {"top_p": 0.99, "min_p": 0.001}])
def test_draws_follow_the_probabilities(limits: dict[str, Any]) -> None:
    row = state(**limits)
    logits = torch.tensor([[0.2, 0.68, 0.02, 0.1]]).log()
    counts = torch.bincount(torch.cat([draw(logits.clone(), [row]) for _ in range(NUM_DRAWS)]), minlength=4)
    kept = torch.tensor([0.2, 0.68, 0.0 if limits.get("top_k") else 0.02, 0.1])
    expected = kept / kept.sum()
    # Four standard deviations; the seed is fixed, so it holds always or never.
    deviations = (expected * (1 - expected) / NUM_DRAWS).sqrt()
    assert ((counts / NUM_DRAWS - expected).abs() <= 4 * deviations + 1e-9).all()


def test_many_rows_at_once_follow_the_probabilities_of_a_large_vocabulary() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(5000, generator=generator) * 2
    states = [state(seed=seed) for seed in range(1000)]
    drawn = torch.cat([draw(logits.expand(1000, -1).clone(), states) for _ in range(4)])
    expected, order = logits.softmax(-1).sort(descending=True)
    groups = torch.bucketize(expected.cumsum(0), torch.linspace(0.1, 0.9, 9))
    group_of = torch.empty_like(groups).scatter_(0, order, groups)
    counts = torch.bincount(group_of[drawn], minlength=10)
    shares = torch.zeros(10).scatter_add_(0, groups, expected)
    chi_squared = float(((counts - 4000 * shares).square() / (4000 * shares)).sum())
    # The 0.999 quantile with 9 degrees of freedom.
    assert chi_squared < 27.9


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_or_flattens(temperature: float) -> None:
    row = state(temperature=temperature)
    logits = torch.tensor([[1.0, 0.0]])
    ones = sum(int(draw(logits.clone(), [row])) == 0 for _ in range(NUM_DRAWS))
    expected = float((logits / temperature).softmax(-1)[0, 0])
    assert ones / NUM_DRAWS == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("limits", [{}, {"top_k": 3}])
def test_tokens_that_are_ruled_out_are_never_drawn(limits: dict[str, int]) -> None:
    row = state(temperature=5.0, **limits)
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert {int(draw(logits.clone(), [row])) for _ in range(200)} == {1, 3}


class Extreme(SamplingState):
    """Draws the largest number there is."""

    def uniform(self) -> float:
        return 1 - 2**-53


@pytest.mark.parametrize("limits", [{}, {"top_p": 0.9}])
def test_the_largest_random_number_takes_a_token_that_is_possible(limits: dict[str, float]) -> None:
    row = Extreme(SamplingParams(max_tokens=1, temperature=1.0, **limits), (), (), 4)  # type: ignore[arg-type]
    logits = torch.tensor([[0.1, 0.2, 0.3, -torch.inf]])
    assert int(draw(logits, [row])) in (0, 1, 2)
