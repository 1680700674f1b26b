"""Any mix of adapters in one batch gives each request what plain PEFT gives it alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.engine.engine import Engine
from service.engine.request import AdapterSource, GenerationRequest
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]
SubmitTogether = Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]]
NUM_NEW = 24
"""More than the tiny sliding windows hold."""


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma3"])
def test_a_mixed_batch_is_plain_peft_row_by_row(
    family: str,
    family_folder: Callable[[str], Path],
    make_adapters: Callable[[Path], list[AdapterSource]],
    make_oracle: Callable[[Path], Any],
    check_greedy: Callable[..., bool],
    start_engine: Callable[..., Engine],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    batch_sizes: list[int],
    prompts: list[tuple[int, ...]],
) -> None:
    folder = family_folder(family)
    engine, oracle = start_engine(folder), make_oracle(folder)
    models: list[AdapterSource | None] = [None, *make_adapters(folder)]
    pairs = list(zip(prompts, models, strict=True)) + list(zip(prompts, models[::-1], strict=True))
    streams = submit_together(engine, [make_request(prompt, model, max_tokens=NUM_NEW) for prompt, model in pairs])
    excused = 0
    for (prompt, model), stream in zip(pairs, streams, strict=True):
        expected = oracle.greedy(prompt, None if model is None else model.folder, NUM_NEW)
        excused += check_greedy(stream.answer().token_ids, expected)
    assert excused <= 1
    assert batch_sizes[-1] == len(pairs)


def test_adapters_change_the_output(oracle: Any, adapters: list[AdapterSource], prompts: list[tuple[int, ...]]) -> None:
    answers = [oracle.greedy(prompts[1], model, NUM_NEW).token_ids for model in (None, *(a.folder for a in adapters))]
    assert len(set(answers)) == len(answers)


def test_rows_that_end_early_do_not_disturb_the_others(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    prompts: list[tuple[int, ...]],
) -> None:
    models: list[AdapterSource | None] = [None, *adapters]
    lengths = [1, 20, 3, 9, 2, 14, 30]
    rows = list(zip(prompts, models, lengths, strict=True))
    requests = [make_request(prompt, model, max_tokens=length) for prompt, model, length in rows]
    for (prompt, model, length), stream in zip(rows, submit_together(engine, requests), strict=True):
        answer = stream.answer()
        check_greedy(answer.token_ids, oracle.greedy(prompt, None if model is None else model.folder, length))
        assert answer.finish_reason == "length"
        assert answer.prompt_tokens == len(prompt)


def test_end_tokens_end_a_row(
    engine: Engine, oracle: Any, make_request: MakeRequest, prompts: list[tuple[int, ...]]
) -> None:
    tokens = oracle.greedy(prompts[1], None, NUM_NEW).token_ids
    end = tokens[7]
    expected = tokens[: tokens.index(end) + 1]
    answer = engine.submit(make_request(prompts[1], stop_ids=[end], max_tokens=NUM_NEW)).answer()
    assert (answer.token_ids, answer.finish_reason) == (expected, "stop")


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_quantised_base_answers_alike_alone_and_in_a_mixed_batch(
    quantization: str,
    start_engine: Callable[..., Engine],
    adapters: list[AdapterSource],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    prompts: list[tuple[int, ...]],
) -> None:
    engine = start_engine(quantization=quantization)
    models: list[AdapterSource | None] = [None, *adapters]
    requests = [make_request(prompt, model) for prompt, model in zip(prompts, models, strict=True)]
    alone = [engine.submit(request).answer().token_ids for request in requests]
    mixed = [stream.answer().token_ids for stream in submit_together(engine, requests)]
    assert mixed == alone
