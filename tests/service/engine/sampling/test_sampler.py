import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import SamplingParams
from service.engine.sampling.sampler import Choice, sample
from service.engine.sampling.state import SamplingState

SIZE = 400
MANY_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 40},
    {"temperature": 1.3, "top_p": 0.9, "logprobs": 3},
    {"temperature": 1.0, "min_p": 0.05, "repetition_penalty": 1.3},
    {"presence_penalty": 0.5, "frequency_penalty": 0.8},
    {"logit_bias": ((3, 5.0), (7, -100.0)), "logprobs": 0},
    {"min_tokens": 3, "stop_token_ids": frozenset([1, 2])},
    {"temperature": 2.0, "top_k": 300, "top_p": 0.99, "min_p": 1e-5, "min_tokens": 9, "logprobs": 5},
)


def state(seed: int = 1, prompt_ids: tuple[int, ...] = (1, 2, 3), **values: Any) -> SamplingState:
    return SamplingState(SamplingParams(max_tokens=9, seed=seed, **values), prompt_ids, (0,), SIZE)


def logits_at(step: int, key: int) -> torch.Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(1000 * key + step)) * 3


def run(states: list[SamplingState], keys: list[int], steps: int = 6) -> list[list[Choice]]:
    """What each row chose; a row's logits depend on its key and the step."""
    found: list[list[Choice]] = [[] for _ in states]
    for step in range(steps):
        choices = sample(torch.stack([logits_at(step, key) for key in keys]), states)
        for row, choice in enumerate(choices):
            found[row].append(choice)
            states[row].accept(choice.token_id)
    return found


@settings(max_examples=30)
@given(kinds=st.lists(st.sampled_from(range(len(MANY_KINDS))), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_a_row_chooses_as_if_alone_wherever_it_stands(kinds: list[int], seed: int) -> None:
    together = run([state(seed + kind, **MANY_KINDS[kind]) for kind in kinds], kinds)
    for row, kind in enumerate(kinds):
        assert together[row] == run([state(seed + kind, **MANY_KINDS[kind])], [kind])[0]


@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-6])
def test_no_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = torch.stack([logits_at(0, key) for key in range(5)])
    expected = logits.argmax(-1).tolist()
    found = sample(logits, [state(temperature=temperature) for _ in range(5)])
    assert found == [Choice(token_id) for token_id in expected]


def test_rows_without_processors_are_left_as_they_are() -> None:
    logits = torch.stack([logits_at(0, 0), logits_at(0, 1), logits_at(0, 2)])
    before = logits.clone()
    sample(logits, [state(), state(temperature=1.0, top_p=0.5), state(logit_bias=((1, 1.0),))])
    assert torch.equal(logits[:2], before[:2])
    assert not torch.equal(logits[2], before[2])


def test_logprobs_are_of_the_models_own_distribution() -> None:
    logits = logits_at(0, 0)[None]
    expected = logits.log_softmax(-1)[0]
    row = state(temperature=3.0, logit_bias=((5, 200.0),), repetition_penalty=2.0, logprobs=2)
    (choice,) = sample(logits.clone(), [row])
    assert choice.token_id == 5
    assert choice.logprob is not None
    assert choice.logprob.token_id == 5
    assert choice.logprob.logprob == pytest.approx(float(expected[5]), abs=1e-5)
    assert [token_id for token_id, _ in choice.logprob.top] == expected.topk(2).indices.tolist()


def test_each_row_reports_as_many_likeliest_as_it_asked_for() -> None:
    rows = [state(logprobs=0), state(), state(logprobs=4)]
    found = sample(torch.stack([logits_at(0, key) for key in range(3)]), rows)
    assert [None if each.logprob is None else len(each.logprob.top) for each in found] == [0, None, 4]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("values", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.9, "logprobs": 2}])
def test_a_broken_row_fails_alone(broken: float, values: dict[str, Any]) -> None:
    keys = [0, 1, 2]
    healthy = sample(torch.stack([logits_at(0, key) for key in keys]), [state(**values) for _ in keys])
    logits = torch.stack([logits_at(0, key) for key in keys])
    logits[1, 17] = broken
    found = sample(logits, [state(**values) for _ in keys])
    assert found[1].failed
    assert found[1].logprob is None
    assert [found[0], found[2]] == [healthy[0], healthy[2]]


@pytest.mark.parametrize("values", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 5}])
def test_a_row_of_which_nothing_is_allowed_fails(values: dict[str, Any]) -> None:
    found = sample(torch.full((2, SIZE), -torch.inf).index_fill_(0, torch.tensor([1]), 0.0), [state(**values)] * 2)
    assert [each.failed for each in found] == [True, False]


def test_end_tokens_do_not_come_before_min_tokens() -> None:
    row = state(min_tokens=2, stop_token_ids=frozenset([1]))
    logits = torch.zeros(1, SIZE)
    logits[0, :3] = torch.tensor([9.0, 8.0, 7.0])
    tokens = []
    for _ in range(3):
        (choice,) = sample(logits.clone(), [row])
        row.accept(choice.token_id)
        tokens.append(choice.token_id)
    assert tokens == [2, 2, 0]


def test_penalties_see_the_answer_grow() -> None:
    row = state(prompt_ids=(), presence_penalty=2.0)
    logits = torch.zeros(1, SIZE)
    logits[0, :3] = torch.tensor([9.0, 8.0, 7.5])
    tokens = []
    for _ in range(3):
        (choice,) = sample(logits.clone(), [row])
        row.accept(choice.token_id)
        tokens.append(choice.token_id)
    assert tokens == [0, 1, 2]


def test_nothing_is_noted_before_it_is_accepted() -> None:
    row = state(presence_penalty=5.0)
    logits = logits_at(0, 0)[None]
    assert sample(logits.clone(), [row]) == sample(logits.clone(), [row])
    assert row.num_new == 0


def test_no_rows_no_choices() -> None:
    assert sample(torch.empty(0, SIZE), []) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_chooses_as_a_cpu_does() -> None:
    kinds = list(range(len(MANY_KINDS)))
    logits = torch.stack([logits_at(0, key) for key in kinds])
    on_cpu = sample(logits.clone(), [state(key, **MANY_KINDS[key]) for key in kinds])
    on_gpu = sample(logits.cuda(), [state(key, **MANY_KINDS[key]) for key in kinds])
    assert [each.token_id for each in on_gpu] == [each.token_id for each in on_cpu]
