from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.errors import InvalidPromptError
from service.engine.request import AdapterSource, GenerationRequest, ScoreRequest, Scores
from service.engine.scoring import score_batch


def expected(oracle: Any, token_ids: Sequence[int], start: int, adapter: AdapterSource | None) -> torch.Tensor:
    logprobs = oracle.logits(token_ids, None if adapter is None else adapter.folder).log_softmax(-1)
    targets = torch.tensor(token_ids[start:])
    found: torch.Tensor = logprobs[start - 1 : -1].gather(1, targets[:, None])[:, 0]
    return found


def check(scores: Scores, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(scores.logprobs), wanted, rtol=1e-4, atol=1e-4)


def test_logprobs_of_a_mixed_batch_are_those_of_plain_peft(
    engine: Engine, adapters: list[AdapterSource], oracle: Any, prompts: list[tuple[int, ...]]
) -> None:
    models: list[AdapterSource | None] = [None, *adapters]
    long = [prompt for prompt in prompts if len(prompt) > 3]
    requests = [
        ScoreRequest(token_ids=prompt, start=start, adapter=model)
        for model in models
        for prompt in long
        for start in (1, len(prompt) - 2)
    ]
    for request, future in zip(requests, engine.score(requests), strict=True):
        check(future.result(60), expected(oracle, request.token_ids, request.start, request.adapter))


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


def test_passes_are_bounded_by_their_padded_tokens(
    start_engine: Callable[..., Engine], oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(*arguments: Any) -> list[Scores]:
        sizes.append(len(arguments[2]))
        return score_batch(*arguments)

    monkeypatch.setattr("service.engine.engine.score_batch", counted)
    engine = start_engine(max_num_batched_tokens=20)
    requests = [ScoreRequest(token_ids=tuple(range(4, 4 + length)), start=1) for length in (5, 5, 5, 5, 30, 9, 11)]
    for request, future in zip(requests, engine.score(requests), strict=True):
        check(future.result(60), expected(oracle, request.token_ids, 1, None))
    assert sizes == [4, 1, 1, 1]
