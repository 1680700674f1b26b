"""`Engine.score`: how likely sequences are."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.errors import InvalidPromptError
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, ScoreRequest, Scores

Start = Callable[..., Engine]


def expected(oracle: Any, token_ids: Sequence[int], start: int, adapter: AdapterSource | None) -> torch.Tensor:
    logprobs = oracle.logits(token_ids, None if adapter is None else adapter.folder).log_softmax(-1)
    targets = torch.tensor(token_ids[start:])
    found: torch.Tensor = logprobs[start - 1 : -1].gather(1, targets[:, None])[:, 0]
    return found


def check(scores: Scores, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(scores.logprobs), wanted, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(
    "config",
    [{}, {"max_num_batched_tokens": 9, "max_num_seqs": 3, "page_tokens": 2, "max_loras": 2, "max_logits": 340 * 4}],
    ids=["at-once", "in-small-steps"],
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
    work = [(prompt, start, model) for model in models for prompt in long for start in (1, len(prompt) - 2)]
    requests = [
        ScoreRequest(token_ids=prompt, start=start, adapters=() if model is None else (AdapterUse(model),))
        for prompt, start, model in work
    ]
    for (prompt, start, model), future in zip(work, engine.score(requests), strict=True):
        check(future.result(60), expected(oracle, prompt, start, model))


def test_what_the_base_says_itself_is_greedy(engine: Engine, oracle: Any, prompts: list[tuple[int, ...]]) -> None:
    answer = oracle.greedy(prompts[1], None, 10).token_ids
    (future,) = engine.score([ScoreRequest(token_ids=prompts[1] + answer, start=len(prompts[1]))])
    assert future.result(60).is_greedy == (True,) * 10
    other = tuple((token + 1) % 340 for token in answer)
    (future,) = engine.score([ScoreRequest(token_ids=prompts[1] + other[:1], start=len(prompts[1]))])
    assert future.result(60).is_greedy == (False,)


def test_nothing_to_score_gives_nothing(engine: Engine) -> None:
    (future,) = engine.score([ScoreRequest(token_ids=(5, 6), start=2)])
    assert future.result(60) == Scores((), ())


@pytest.mark.parametrize("start", [0, -1, 4])
def test_a_start_outside_the_sequence_is_refused(engine: Engine, start: int) -> None:
    with pytest.raises(InvalidPromptError):
        engine.score([ScoreRequest(token_ids=(5, 6, 7), start=start)])


def test_a_scoring_that_its_caller_gave_up_fails_no_other(
    engine: Engine, oracle: Any, make_request: Callable[..., GenerationRequest]
) -> None:
    with engine._changed:
        given_up, kept = engine.score([ScoreRequest(token_ids=(5, 6, 7), start=1)] * 2)
        assert given_up.cancel()
    check(kept.result(60), expected(oracle, (5, 6, 7), 1, None))
    assert len(engine.submit(make_request([5])).answer().token_ids) == 12


def test_a_context_that_continuations_share_is_computed_once(
    start_engine: Start, oracle: Any, prompts: list[tuple[int, ...]], steps: Any
) -> None:
    engine = start_engine(page_tokens=4)
    context = prompts[4]
    whole = (len(context) - 1) // 4 * 4
    for at, tail in enumerate([(7, 8), (9,), (10, 11, 12)]):
        del steps.counts[:]
        (future,) = engine.score([ScoreRequest(token_ids=context + tail, start=len(context))])
        check(future.result(60), expected(oracle, context + tail, len(context), None))
        assert sum(map(sum, steps.counts)) == len(context + tail) - (whole if at else 0)


def test_scores_after_a_cached_beginning_are_the_same(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    make_request: Callable[..., GenerationRequest],
    prompts: list[tuple[int, ...]],
) -> None:
    engine, ids = start_engine(page_tokens=4), prompts[4]
    engine.submit(make_request(ids, adapters[1])).answer()
    uses = (AdapterUse(adapters[1]),)
    for start in (1, 9, len(ids) - 1):
        (future,) = engine.score([ScoreRequest(token_ids=ids, start=start, adapters=uses)])
        check(future.result(60), expected(oracle, ids, start, adapters[1]))
