"""The engine's face: what it refuses, how it begins and ends."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import generate_latest

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from service.engine.engine import Engine
from service.engine.errors import (
    AdapterLoadError,
    EngineClosedError,
    InvalidAdaptersError,
    InvalidPromptError,
    PromptTooLongError,
    QueueFullError,
    TooManyPinsError,
)
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, ScoreRequest

MakeRequest = Callable[..., GenerationRequest]
Start = Callable[..., Engine]
Check = Callable[..., bool]
Prompts = list[tuple[int, ...]]
WaitUntil = Callable[[Callable[[], bool]], None]


def test_concurrent_requests_through_few_slots_get_what_a_serial_oracle_gives(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
) -> None:
    engine = start_engine(max_loras=2, max_num_seqs=8)
    models: list[AdapterSource | None] = [None, *adapters]
    work = [(prompts[at % 5], models[(at + at // 7) % 7], 4 + at % 5) for at in range(128)]

    def ask(item: tuple[tuple[int, ...], AdapterSource | None, int]) -> tuple[int, ...]:
        prompt, model, length = item
        found = engine.submit(make_request(prompt, model, max_tokens=length)).answer().token_ids
        engine._residency.check_integrity()
        return found

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, work))
    excused = 0
    for (prompt, model, length), answer in zip(work, answers, strict=True):
        excused += check_greedy(answer, oracle.greedy(prompt, None if model is None else model.folder, length))
    assert excused <= 1
    assert len(engine.resident()) == 2
    assert engine._residency.num_evictions >= 4


def test_an_adapter_that_cannot_be_loaded_fails_only_its_own_requests(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
    tmp_path: Path,
) -> None:
    missing = AdapterSource("sha256:missing", tmp_path / "missing")
    streams = [engine.submit(make_request(prompts[0], model)) for model in (None, missing, adapters[0], missing)]
    for at in (1, 3):
        with pytest.raises(AdapterLoadError, match="sha256:missing"):
            streams[at].answer()
    check_greedy(streams[0].answer().token_ids, oracle.greedy(prompts[0], None, 12))
    check_greedy(streams[2].answer().token_ids, oracle.greedy(prompts[0], adapters[0].folder, 12))
    assert engine.resident() == [adapters[0].digest]


def test_a_merge_fails_with_the_one_of_its_adapters_that_cannot_be_loaded(
    engine: Engine, adapters: list[AdapterSource], make_request: MakeRequest, tmp_path: Path
) -> None:
    uses = [AdapterUse(adapters[0]), AdapterUse(AdapterSource("sha256:missing", tmp_path / "missing"))]
    with pytest.raises(AdapterLoadError, match="sha256:missing"):
        engine.submit(make_request([5], uses=uses)).answer()
    assert len(engine.submit(make_request([5], uses=[uses[0], AdapterUse(adapters[1])])).answer().token_ids) == 12


def test_an_adapter_of_another_shape_is_refused_at_load(
    engine: Engine, make_request: MakeRequest, make_adapters: Callable[[Path], list[AdapterSource]], tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path / "other")
    other = make_adapters(tmp_path / "other")
    with pytest.raises(AdapterLoadError, match=r"tensor .*layers\.\d+\..* (has shape|is not expected)"):
        engine.submit(make_request([5], other[0])).answer()


@pytest.mark.parametrize("prompt", [(), (-1,), (5, 340), (5, 10**9)])
def test_a_prompt_that_the_base_cannot_embed_is_refused(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidPromptError):
        engine.submit(make_request(prompt))
    with pytest.raises(InvalidPromptError):
        engine.score([ScoreRequest(context_ids=prompt, continuations=((5,),))])
    for continuations in ((), ((),), ((5,), ()), ((5,), prompt)):
        with pytest.raises(InvalidPromptError):
            engine.score([ScoreRequest(context_ids=(5,), continuations=continuations)])


def test_a_prompt_and_its_answer_must_fit_the_context(engine: Engine, make_request: MakeRequest) -> None:
    with pytest.raises(PromptTooLongError, match=r"250 tokens and 7 new ones.*256 tokens"):
        engine.submit(make_request([5] * 250, max_tokens=7))
    assert len(engine.submit(make_request([5] * 250, max_tokens=6)).answer().token_ids) == 6
    with pytest.raises(PromptTooLongError):
        engine.score([ScoreRequest(context_ids=(5,), continuations=((5,) * 128, (5,) * 130))])
    # What a continuation's last token would predict is not wanted, so it takes no place.
    (fits,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((5,) * 128, (5,) * 129))])
    assert [len(each.logprobs) for each in fits.result(10)] == [128, 129]


def test_the_context_is_no_longer_than_the_cache(start_engine: Start, make_request: MakeRequest) -> None:
    engine = start_engine(page_tokens=8, cache_bytes=47 * 512)
    assert engine.context_tokens == 40
    with pytest.raises(PromptTooLongError):
        engine.submit(make_request([5] * 30, max_tokens=11))
    streams = [engine.submit(make_request([at] * 30, max_tokens=10)) for at in range(5)]
    assert [len(stream.answer().token_ids) for stream in streams] == [10] * 5


def test_adapters_that_cannot_act_together_are_refused(
    start_engine: Start, make_request: MakeRequest, adapters: list[AdapterSource]
) -> None:
    engine = start_engine(max_loras=2)
    plain, other, rslora, dora = (AdapterUse(source) for source in adapters[:4])
    for uses, text in (
        ([plain, plain], "named twice"),
        ([plain, other, rslora], "3 adapters are asked for together.*holds 2"),
    ):
        with pytest.raises(InvalidAdaptersError, match=text):
            engine.submit(make_request([5], uses=uses))
        with pytest.raises(InvalidAdaptersError, match=text):
            engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),), adapters=tuple(uses))])
    with pytest.raises(InvalidAdaptersError, match="max_loras is 0"):
        start_engine(max_loras=0).submit(make_request([5], adapters[0]))
    # What an adapter is can be seen only when it has been read, which no caller waits for.
    for uses in ([plain, dora], [AdapterUse(dora.source, 0.5)]):
        with pytest.raises(InvalidAdaptersError, match="DoRA"):
            engine.submit(make_request([5], uses=uses)).answer()
        (scored,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),), adapters=tuple(uses))])
        with pytest.raises(InvalidAdaptersError, match="DoRA"):
            scored.result(10)
    assert len(engine.submit(make_request([5], dora.source)).answer().token_ids) == 12


def test_submitting_reads_nothing_from_disk(
    start_engine: Start, make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, reader = start_engine(), set[str]()

    def read(folder: Path) -> LoraConfig:
        reader.add(threading.current_thread().name)
        raise InvalidAdapterError(f"{folder} is not there")

    monkeypatch.setattr(LoraConfig, "read", read)
    uses = [AdapterUse(AdapterSource(f"sha256:{at}", tmp_path / str(at)), 0.5) for at in range(2)]
    with pytest.raises(AdapterLoadError):
        engine.submit(make_request([5], uses=uses)).answer()
    assert reader == {"adapter-reader"}


def test_requests_are_queued_together_or_not_at_all(
    start_engine: Start, make_request: MakeRequest, adapters: list[AdapterSource], steps: Any
) -> None:
    engine = start_engine(max_waiting=3)
    with pytest.raises(InvalidPromptError):
        engine.submit_all([make_request([5], adapters[0]), make_request([])])
    with pytest.raises(QueueFullError):
        engine.submit_all([make_request([5], adapters[0])] * 4)
    before = len(steps.counts)
    assert len(engine.submit(make_request([5])).answer().token_ids) == 12
    assert len(steps.counts) == before + 12
    assert engine.resident() == []


def test_a_full_queue_refuses_one_more(
    start_engine: Start, make_request: MakeRequest, steps: Any, wait_until: WaitUntil
) -> None:
    engine = start_engine(max_waiting=2, max_num_seqs=1)
    steps.hold()
    begun = steps.begun
    first = engine.submit(make_request([5]))
    wait_until(lambda: steps.begun > begun)
    waiting = [engine.submit(make_request([5])) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 requests are waiting") as caught:
        engine.submit(make_request([5]))
    assert caught.value.retry_after_seconds > 0
    with pytest.raises(QueueFullError):
        engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),))])
    steps.go()
    assert [stream.answer().finish_reason for stream in (first, *waiting)] == ["length"] * 3


def test_closing_fails_what_runs_and_what_waits(
    start_engine: Start, make_request: MakeRequest, steps: Any, wait_until: WaitUntil, adapters: list[AdapterSource]
) -> None:
    died: list[bool] = []
    engine = start_engine(max_num_seqs=1, on_death=lambda: died.append(True))
    steps.hold()
    begun = steps.begun
    running = engine.submit(make_request([5], max_tokens=200))
    wait_until(lambda: steps.begun > begun)
    waiting = [engine.submit(make_request([5], model)) for model in (None, adapters[0])]
    (scored,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),))])
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: not engine.alive)
    steps.go()
    closing.join()
    for stream in (running, *waiting):
        with pytest.raises(EngineClosedError):
            stream.answer()
    with pytest.raises(EngineClosedError):
        scored.result(timeout=10)
    for refused in (lambda: engine.submit(make_request([5])), lambda: engine.pin(adapters[0])):
        with pytest.raises(EngineClosedError):
            refused()
    assert not died
    assert engine._loop._pages.usage == 0


def test_a_request_cancelled_while_it_waits_is_not_run(
    start_engine: Start, make_request: MakeRequest, steps: Any, wait_until: WaitUntil, adapters: list[AdapterSource]
) -> None:
    engine = start_engine(max_num_seqs=1)
    steps.hold()
    begun = steps.begun
    running = engine.submit(make_request([5]))
    wait_until(lambda: steps.begun > begun)
    waiting = engine.submit(make_request([5] * 7, adapters[0]))
    waiting.cancel()
    steps.go()
    answer = waiting.answer()
    assert (answer.finish_reason, answer.token_ids, answer.text) == ("cancelled", (), "")
    running.answer()
    assert [7] not in steps.counts


def test_a_pinned_adapter_outlives_the_traffic_of_others(
    start_engine: Start, make_request: MakeRequest, adapters: list[AdapterSource], prompts: Prompts
) -> None:
    engine = start_engine(max_loras=2, max_cpu_loras=3)
    engine.pin(adapters[0]).result(10)
    for source in adapters[1:5]:
        engine.submit(make_request(prompts[0], source, max_tokens=2)).answer()
    assert engine.pinned() == [adapters[0].digest]
    assert [engine.placement(source.digest) for source in adapters[:5]] == ["device", "store", "host", "host", "device"]
    with pytest.raises(TooManyPinsError):
        engine.pin(adapters[1])
    assert engine.unpin(adapters[0].digest)
    for source in adapters[1:3]:
        engine.submit(make_request(prompts[0], source, max_tokens=2)).answer()
    assert engine.placement(adapters[0].digest) != "device"


def test_a_pin_fails_if_its_adapter_answers_as_the_base(
    start_engine: Start, make_request: MakeRequest, adapters: list[AdapterSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(max_loras=2)
    engine.pin(adapters[0]).result(30)
    engine.unpin(adapters[0].digest)
    monkeypatch.setattr("service.engine.residency.verifier.fault", lambda *_: "it answers as the base")
    for _ in range(2):
        with pytest.raises(AdapterLoadError, match=rf"{adapters[1].name}: it answers as the base"):
            engine.pin(adapters[1]).result(30)
    assert engine.pinned() == []
    # What has been found sound stays so.
    engine.pin(adapters[0]).result(30)
    assert len(engine.submit(make_request([5], adapters[0])).answer().token_ids) == 12


def test_a_merge_for_which_pins_leave_no_room_is_told_so(
    start_engine: Start, make_request: MakeRequest, adapters: list[AdapterSource], prompts: Prompts
) -> None:
    engine = start_engine(max_loras=2)
    engine.pin(adapters[0]).result(10)
    both = [AdapterUse(adapters[1]), AdapterUse(adapters[2])]
    refused = engine.submit(make_request(prompts[0], uses=both))
    alone = engine.submit(make_request(prompts[0], adapters[1]))
    with pytest.raises(AdapterLoadError, match="1 are pinned"):
        refused.answer()
    assert len(alone.answer().token_ids) == 12
    with_pinned = [AdapterUse(adapters[0]), AdapterUse(adapters[2])]
    assert len(engine.submit(make_request(prompts[0], uses=with_pinned)).answer().token_ids) == 12


def test_requests_are_counted_under_vllms_names(engine: Engine, make_request: MakeRequest) -> None:
    engine.submit(make_request([5, 6, 7], max_tokens=4)).answer()
    text = generate_latest(engine._metrics.registry).decode()
    assert 'vllm:prompt_tokens_total{model_name="tiny"} 3.0' in text
    assert 'vllm:generation_tokens_total{model_name="tiny"} 4.0' in text
    assert 'vllm:request_success_total{finished_reason="length",model_name="tiny"} 1.0' in text
    assert 'vllm:num_requests_waiting{model_name="tiny"} 0.0' in text
