"""Any mix of adapters in one batch gives each request what plain PEFT gives it alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.model.runner import Work
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, SamplingParams
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]
SubmitTogether = Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]]
NUM_NEW = 16
"""More than the tiny sliding windows hold."""
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3", "phi", "phi3")
CRAMPED = {"max_num_seqs": 5, "max_num_batched_tokens": 9, "page_tokens": 4, "cache_bytes": 1 << 17, "max_loras": 3}
"""Prompts in chunks, sequences preempted, adapters loaded and evicted under way."""


def record_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sequences of every step from now on."""
    sizes: list[int] = []
    run = engine._runner.run

    def recorded(works: Sequence[Work]) -> torch.Tensor:
        sizes.append(len(works))
        return run(works)

    monkeypatch.setattr(engine._runner, "run", recorded)
    return sizes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_is_plain_peft_row_by_row(
    family: str,
    family_folder: Callable[[str], Path],
    make_adapters: Callable[[Path], list[AdapterSource]],
    make_oracle: Callable[[Path], Any],
    check_greedy: Callable[..., bool],
    start_engine: Callable[..., Engine],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    prompts: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = family_folder(family)
    engine, oracle = start_engine(folder), make_oracle(folder)
    steps = record_steps(engine, monkeypatch)
    models: list[AdapterSource | None] = [None, *make_adapters(folder)]
    pairs = list(zip(prompts, models, strict=True)) + list(zip(prompts, models[::-1], strict=True))
    streams = submit_together(engine, [make_request(prompt, model, max_tokens=NUM_NEW) for prompt, model in pairs])
    excused = 0
    for (prompt, model), stream in zip(pairs, streams, strict=True):
        expected = oracle.greedy(prompt, None if model is None else model.folder, NUM_NEW)
        excused += check_greedy(stream.answer().token_ids, expected)
    assert excused <= 1
    assert max(steps) == len(pairs)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3"])
def test_chunks_preemption_and_eviction_leave_no_trace(
    family: str,
    fused: bool,
    family_folder: Callable[[str], Path],
    make_adapters: Callable[[Path], list[AdapterSource]],
    make_oracle: Callable[[Path], Any],
    check_greedy: Callable[..., bool],
    start_engine: Callable[..., Engine],
    make_request: MakeRequest,
    prompts: list[tuple[int, ...]],
) -> None:
    folder = family_folder(family)
    engine, oracle = start_engine(folder, fused=fused, **CRAMPED), make_oracle(folder)
    models: list[AdapterSource | None] = [None, *make_adapters(folder)]
    pairs = [*zip(prompts, models, strict=True), *zip(prompts, models[::-1], strict=True)] * 2
    streams = engine.submit_all([make_request(prompt, model, max_tokens=NUM_NEW) for prompt, model in pairs])
    excused = 0
    for (prompt, model), stream in zip(pairs, streams, strict=True):
        expected = oracle.greedy(prompt, None if model is None else model.folder, NUM_NEW)
        excused += check_greedy(stream.answer().token_ids, expected)
    assert excused <= 1
    assert engine._loop._scheduler.num_preemptions
    assert engine._residency.num_evictions


def test_adapters_change_the_output(oracle: Any, adapters: list[AdapterSource], prompts: list[tuple[int, ...]]) -> None:
    answers = [oracle.greedy(prompts[1], model, NUM_NEW).token_ids for model in (None, *(a.folder for a in adapters))]
    assert len(set(answers)) == len(answers)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_scaled_and_merged_adapters_among_others_are_those_of_peft(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    peft_model: Callable[..., Any],
    check_greedy: Callable[..., bool],
    submit_together: SubmitTogether,
    prompts: list[tuple[int, ...]],
) -> None:
    first, second = adapters[1], adapters[4]
    merged = peft_model(first.folder)
    merged.load_adapter(str(second.folder), adapter_name="second")
    merged.add_weighted_adapter(["default", "second"], [0.5, -1.5], "both", combination_type="cat")
    merged.set_adapter("both")
    uses = (AdapterUse(first, 0.5), AdapterUse(second, -1.5))
    params = SamplingParams(max_tokens=NUM_NEW)
    asked = [
        GenerationRequest(prompt_ids=prompt, params=params, stop_ids=frozenset(), adapters=each)
        for prompt in prompts[:3]
        for each in (uses, uses[::-1], (AdapterUse(first),), ())
    ]
    answers = [stream.answer().token_ids for stream in submit_together(engine, asked)]
    for prompt, four in zip(prompts, (answers[:4], answers[4:8], answers[8:]), strict=False):
        expected = type(oracle)(lambda *_: merged, Path()).greedy(prompt, None, NUM_NEW)
        check_greedy(four[0], expected)
        check_greedy(four[1], expected)
        check_greedy(four[2], oracle.greedy(prompt, first.folder, NUM_NEW))
        check_greedy(four[3], oracle.greedy(prompt, None, NUM_NEW))


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
    lengths = [1, 14, 3, 9, 2, 12, 20]
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
    engine = start_engine(quantization=quantization, prefix_caching=False)
    models: list[AdapterSource | None] = [None, *adapters]
    requests = [make_request(prompt, model) for prompt, model in zip(prompts, models, strict=True)]
    alone = [engine.submit(request).answer().token_ids for request in requests]
    mixed = [stream.answer().token_ids for stream in submit_together(engine, requests)]
    assert mixed == alone
