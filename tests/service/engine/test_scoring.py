"""`Engine.score`: how likely continuations of a context are."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, ScoreRequest, Scores

Start = Callable[..., Engine]


def expected(oracle: Any, token_ids: Sequence[int], start: int, adapter: AdapterSource | None) -> torch.Tensor:
    logprobs = oracle.logits(token_ids, None if adapter is None else adapter.folder).log_softmax(-1)
    targets = torch.tensor(token_ids[start:])
    found: torch.Tensor = logprobs[start - 1 : -1].gather(1, targets[:, None])[:, 0]
    return found


def check(scores: Scores, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(scores.logprobs), wanted, rtol=1e-4, atol=2e-4)


def request(
    context: Sequence[int], *continuations: Sequence[int], adapter: AdapterSource | None = None
) -> ScoreRequest:
    return ScoreRequest(
        context_ids=tuple(context),
        continuations=tuple(map(tuple, continuations)),
        adapters=() if adapter is None else (AdapterUse(adapter),),
    )


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_num_batched_tokens": 9, "max_num_seqs": 3, "page_tokens": 2, "max_loras": 2, "max_logits": 340 * 4},
        {"fused": False},
    ],
    ids=["at-once", "in-small-steps", "reference"],
)
def test_logprobs_of_a_mixed_batch_are_those_of_plain_peft(
    config: dict[str, int],
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    prompts: list[tuple[int, ...]],
) -> None:
    engine = start_engine(**config)
    models: list[AdapterSource | None] = [None, *adapters]
    long = [prompt for prompt in prompts if len(prompt) > 3]
    tails = ((7, 8), (9,), (10, 11, 12), (7, 8), (9, 8))
    work = [(prompt, model) for model in models for prompt in long]
    requests = [request(prompt, *tails, adapter=model) for prompt, model in work]
    requests += [request(prompt[:1], prompt[1:], adapter=model) for prompt, model in work]
    results = [future.result(60) for future in engine.score(requests)]
    for (prompt, model), found in zip(work, results[: len(work)], strict=True):
        assert len(found) == len(tails)
        for tail, scores in zip(tails, found, strict=True):
            check(scores, expected(oracle, prompt + tail, len(prompt), model))
    for (prompt, model), (scores,) in zip(work, results[len(work) :], strict=True):
        check(scores, expected(oracle, prompt, 1, model))


@pytest.mark.parametrize("family", ["mistral", "gemma3", "phi"])
def test_branches_see_as_far_as_other_bases_do(
    family: str,
    family_folder: Callable[[str], Any],
    start_engine: Start,
    make_oracle: Callable[..., Any],
    prompts: list[tuple[int, ...]],
) -> None:
    folder = family_folder(family)
    engine, oracle = start_engine(folder, page_tokens=4), make_oracle(folder)
    # Longer together than the sliding window, and one of them longer than it by itself.
    tails = (prompts[3][:9], prompts[1][:3], prompts[4][:20])
    (future,) = engine.score([request(prompts[4], *tails)])
    for tail, scores in zip(tails, future.result(60), strict=True):
        check(scores, expected(oracle, prompts[4] + tail, len(prompts[4]), None))


def test_what_the_base_says_itself_is_greedy(engine: Engine, oracle: Any, prompts: list[tuple[int, ...]]) -> None:
    answer = oracle.greedy(prompts[1], None, 10).token_ids
    other = tuple((token + 1) % 340 for token in answer)
    (future,) = engine.score([request(prompts[1], answer, other[:1], answer[:4] + other[4:5])])
    flags = [scores.is_greedy for scores in future.result(60)]
    assert flags == [(True,) * 10, (False,), (True,) * 4 + (False,)]


def test_a_scoring_that_its_caller_gave_up_fails_no_other(
    engine: Engine, oracle: Any, make_request: Callable[..., GenerationRequest]
) -> None:
    with engine._changed:
        given_up, kept = engine.score([request((5,), (6, 7))] * 2)
        assert given_up.cancel()
    check(kept.result(60)[0], expected(oracle, (5, 6, 7), 1, None))
    assert len(engine.submit(make_request([5])).answer().token_ids) == 12


def test_a_context_is_computed_once_for_its_continuations_and_their_last_tokens_never(
    start_engine: Start, oracle: Any, prompts: list[tuple[int, ...]], steps: Any
) -> None:
    engine = start_engine(page_tokens=4)
    context, tails = prompts[4], ((7, 8), (9,), (10, 11, 12), (13,))
    del steps.counts[:]
    (future,) = engine.score([request(context, *tails)])
    for tail, scores in zip(tails, future.result(60), strict=True):
        check(scores, expected(oracle, context + tail, len(context), None))
    assert sum(map(sum, steps.counts)) == len(context) + 1 + 2


def test_pages_of_the_context_alone_are_kept_for_others(
    start_engine: Start,
    oracle: Any,
    make_request: Callable[..., GenerationRequest],
    prompts: list[tuple[int, ...]],
    steps: Any,
) -> None:
    engine = start_engine(page_tokens=4)
    context, tails = prompts[4], ((7, 8, 9, 10, 11, 12), (13, 14, 15, 16, 17, 18))
    whole = (len(context) - 1) // 4 * 4
    for first in (True, False):
        del steps.counts[:]
        (future,) = engine.score([request(context, *tails)])
        for tail, scores in zip(tails, future.result(60), strict=True):
            check(scores, expected(oracle, context + tail, len(context), None))
        assert sum(map(sum, steps.counts)) == len(context) + 10 - (0 if first else whole)
    # What stands after the second branch was computed without sight of the first.
    joined = context + tails[0][:-1] + tails[1]
    (future,) = engine.score([request(joined, (5,))])
    check(future.result(60)[0], expected(oracle, (*joined, 5), len(joined), None))
    answer = engine.submit(make_request(joined)).answer()
    assert answer.token_ids == oracle.greedy(joined, None, 12).token_ids


def test_scores_after_a_cached_beginning_are_the_same(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    make_request: Callable[..., GenerationRequest],
    prompts: list[tuple[int, ...]],
) -> None:
    engine, ids = start_engine(page_tokens=4), prompts[4]
    engine.submit(make_request(ids, adapters[1])).answer()
    for start in (1, 9, len(ids) - 1):
        (future,) = engine.score([request(ids[:start], ids[start:], (7, 8), adapter=adapters[1])])
        found = future.result(60)
        check(found[0], expected(oracle, ids, start, adapters[1]))
        check(found[1], expected(oracle, (*ids[:start], 7, 8), start, adapters[1]))


def test_branches_that_lose_their_place_are_scored_all_the_same(
    start_engine: Start, oracle: Any, make_request: Callable[..., GenerationRequest], prompts: list[tuple[int, ...]]
) -> None:
    # Room for little more than one of them, in steps that stop in the middle of a branch.
    engine = start_engine(page_tokens=4, cache_bytes=80 * 512, max_num_batched_tokens=8, max_num_seqs=4)
    streams = [engine.submit(make_request([at], max_tokens=20)) for at in (5, 6, 7)]
    tails = ((7, 8, 9), (10,), (11, 12))
    futures = engine.score([request(prompts[4][at:], *tails) for at in range(4)])
    for at, future in enumerate(futures):
        context = prompts[4][at:]
        for tail, scores in zip(tails, future.result(60), strict=True):
            check(scores, expected(oracle, context + tail, len(context), None))
    assert [len(stream.answer().token_ids) for stream in streams] == [20] * 3
