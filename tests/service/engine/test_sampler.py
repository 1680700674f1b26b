"""The engine as evaluation sees it."""

from collections.abc import Callable
from typing import Any

import pytest

from evaluation.sampler import GenerateRequest, ScoreGroup
from service.engine.engine import Engine
from service.engine.errors import PromptTooLongError
from service.engine.request import AdapterSource, AdapterUse
from service.engine.sampler import EngineSampler, Route

Prompts = list[tuple[int, ...]]


@pytest.fixture
def sampler(engine: Engine, adapters: list[AdapterSource]) -> EngineSampler:
    routes = {
        None: Route((), frozenset()),
        "tuned": Route((AdapterUse(adapters[1]),), frozenset()),
        "half": Route((AdapterUse(adapters[1], 0.5),), frozenset(), "acme"),
    }
    return EngineSampler(engine, lambda model: routes[model])


def test_every_request_gets_its_completion(
    sampler: EngineSampler,
    oracle: Any,
    check_greedy: Callable[..., bool],
    prompts: Prompts,
    adapters: list[AdapterSource],
) -> None:
    requests = [
        GenerateRequest(model=model, prompt_ids=prompt, max_tokens=8) for model in (None, "tuned") for prompt in prompts
    ]
    completions = {completion.index: completion for completion in sampler.generate(requests)}
    assert sorted(completions) == list(range(14))
    for index, request in enumerate(requests):
        folder = None if request.model is None else adapters[1].folder
        check_greedy(completions[index].token_ids, oracle.greedy(request.prompt_ids, folder, 8))
        assert completions[index].finish_reason == "length"
        assert completions[index].prompt_tokens == len(request.prompt_ids)


def test_scores_come_in_the_order_of_the_groups(sampler: EngineSampler, oracle: Any, prompts: Prompts) -> None:
    groups = [
        ScoreGroup(model=model, context_ids=prompts[at], continuations=((7, 8, 9), (10,)))
        for model, at in ((None, 4), ("tuned", 0), (None, 0))
    ]
    scored = sampler.score(groups)
    assert [[len(each.logprobs) for each in group.continuations] for group in scored] == [[3, 1]] * 3
    expected = oracle.logits(prompts[0] + (10,), None).log_softmax(-1)[-2, 10]
    assert scored[2].continuations[1].logprobs[0] == pytest.approx(expected.item(), abs=1e-4)


def test_a_route_carries_scale_and_tenant(sampler: EngineSampler, prompts: Prompts) -> None:
    groups = [
        ScoreGroup(model=model, context_ids=prompts[4], continuations=((7, 8),)) for model in (None, "tuned", "half")
    ]
    found = {round(sum(group.continuations[0].logprobs), 4) for group in sampler.score(groups)}
    assert len(found) == 3
    requests = [GenerateRequest(model="half", prompt_ids=prompts[4], max_tokens=8)] * 2
    first, second = sampler.generate(requests)
    assert first.token_ids == second.token_ids


def test_more_sequences_than_may_wait_at_once_are_scored_in_turn(
    start_engine: Callable[..., Engine], prompts: Prompts
) -> None:
    sampler = EngineSampler(start_engine(max_waiting=8), lambda _: Route((), frozenset()))
    groups = [ScoreGroup(model=None, context_ids=prompts[0], continuations=((7,),) * 30)]
    assert len(sampler.score(groups)[0].continuations) == 30
    requests = [GenerateRequest(model=None, prompt_ids=prompts[0], max_tokens=2)] * 30
    assert len(list(sampler.generate(requests))) == 30


def test_a_request_that_cannot_be_served_raises_where_it_is_awaited(sampler: EngineSampler, prompts: Prompts) -> None:
    requests = [GenerateRequest(model=None, prompt_ids=prompt, max_tokens=4) for prompt in (prompts[0], (5,) * 300)]
    with pytest.raises(PromptTooLongError):
        list(sampler.generate(requests))


def test_who_stops_listening_waits_for_little(sampler: EngineSampler, prompts: Prompts, engine: Engine) -> None:
    requests = [GenerateRequest(model=None, prompt_ids=prompts[0], max_tokens=4)] * 5000
    completions = sampler.generate(requests)
    next(completions)
    completions.close()  # type: ignore[attr-defined]
    submitted = engine._metrics.registry.get_sample_value(
        "vllm:request_success_total", {"model_name": "tiny", "finished_reason": "length"}
    )
    assert submitted is not None
    assert submitted < 5000


def test_continuations_that_do_not_fit_beside_each_other_are_scored_one_after_another(
    sampler: EngineSampler, oracle: Any, prompts: Prompts
) -> None:
    tails = tuple((at, *prompts[4]) * 3 for at in range(5, 10))
    (group,) = sampler.score([ScoreGroup(model=None, context_ids=prompts[0], continuations=tails)])
    for tail, found in zip(tails, group.continuations, strict=True):
        logprobs = oracle.logits(prompts[0] + tail, None).log_softmax(-1)
        assert found.logprobs[-1] == pytest.approx(logprobs[-2, tail[-1]].item(), abs=1e-4)
