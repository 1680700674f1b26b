import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import generate_latest
from safetensors.torch import load_file, save_file

from service.engine.batch import GenerationBatch
from service.engine.engine import Engine
from service.engine.errors import (
    AdapterLoadError,
    EngineClosedError,
    EngineFailedError,
    InvalidPromptError,
    PromptTooLongError,
    QueueFullError,
)
from service.engine.request import AdapterSource, GenerationRequest, ScoreRequest
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]
Start = Callable[..., Engine]
SubmitTogether = Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]]
Prompts = list[tuple[int, ...]]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Generation batches wait for it."""
    opened = threading.Event()
    genuine = GenerationBatch.run

    def run(batch: GenerationBatch) -> None:
        opened.wait(30)
        genuine(batch)

    monkeypatch.setattr(GenerationBatch, "run", run)
    return opened


def spoiled(adapter: AdapterSource, folder: Path, factor: float) -> AdapterSource:
    """A copy whose weights are multiplied."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter.folder / "adapter_config.json").read_bytes())
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    save_file({name: tensor * factor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    return AdapterSource(f"sha256:{folder.name}", folder)


def test_concurrent_requests_through_few_slots_get_what_a_serial_oracle_gives(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
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
    assert engine._residency._state.evictions >= 4


def test_an_adapter_that_cannot_be_loaded_fails_only_its_own_requests(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
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


def test_an_adapter_of_another_shape_is_refused_at_load(
    engine: Engine, make_request: MakeRequest, make_adapters: Callable[[Path], list[AdapterSource]], tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path / "other")
    other = make_adapters(tmp_path / "other")
    with pytest.raises(AdapterLoadError, match=r"layers\.0.*has shape.*base tiny"):
        engine.submit(make_request([5], other[0])).answer()


def test_an_adapter_whose_output_is_no_number_fails_only_its_own_rows(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    prompts: Prompts,
    batch_sizes: list[int],
    tmp_path: Path,
) -> None:
    loud = spoiled(adapters[0], tmp_path / "loud", 1e30)
    with engine._changed:
        lease = engine._residency.lease(loud)
        lease_of_good = engine._residency.lease(adapters[1])
    _wait_until(lambda: not (lease.pending or lease_of_good.pending))
    with engine._changed:
        streams = [engine.submit(make_request(prompts[0], model)) for model in (None, loud, adapters[1])]
    with pytest.raises(EngineFailedError, match="not a number"):
        streams[1].answer()
    check_greedy(streams[0].answer().token_ids, oracle.greedy(prompts[0], None, 12))
    check_greedy(streams[2].answer().token_ids, oracle.greedy(prompts[0], adapters[1].folder, 12))
    assert batch_sizes == [3]


@pytest.mark.parametrize("prompt", [(), (-1,), (5, 340), (5, 10**9)])
def test_a_prompt_that_the_base_cannot_embed_is_refused(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidPromptError):
        engine.submit(make_request(prompt))
    with pytest.raises(InvalidPromptError):
        engine.score([ScoreRequest(token_ids=prompt, start=1)])


def test_a_prompt_and_its_answer_must_fit_the_context(engine: Engine, make_request: MakeRequest) -> None:
    with pytest.raises(PromptTooLongError, match=r"250 tokens and 7 new ones.*256 tokens"):
        engine.submit(make_request([5] * 250, max_tokens=7))
    assert len(engine.submit(make_request([5] * 250, max_tokens=6)).answer().token_ids) == 6
    with pytest.raises(PromptTooLongError):
        engine.score([ScoreRequest(token_ids=(5,) * 257, start=1)])


def test_a_full_queue_refuses_one_more(
    start_engine: Start, make_request: MakeRequest, gate: threading.Event, batch_sizes: list[int]
) -> None:
    engine = start_engine(max_waiting=2)
    first = engine.submit(make_request([5]))
    _wait_until(lambda: bool(batch_sizes))
    waiting = [engine.submit(make_request([5])) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 requests are waiting") as caught:
        engine.submit(make_request([5]))
    assert caught.value.retry_after_seconds > 0
    with pytest.raises(QueueFullError):
        engine.score([ScoreRequest(token_ids=(5, 6), start=1)])
    gate.set()
    assert [stream.answer().finish_reason for stream in (first, *waiting)] == ["length"] * 3


def test_closing_ends_the_batch_under_way_and_fails_what_waits(
    start_engine: Start,
    make_request: MakeRequest,
    gate: threading.Event,
    batch_sizes: list[int],
    adapters: list[AdapterSource],
) -> None:
    engine = start_engine(max_num_seqs=1)
    running = engine.submit(make_request([5]))
    _wait_until(lambda: bool(batch_sizes))
    waiting = [engine.submit(make_request([5], model)) for model in (None, adapters[0])]
    (scored,) = engine.score([ScoreRequest(token_ids=(5, 6), start=1)])
    closing = threading.Thread(target=engine.close)
    closing.start()
    _wait_until(lambda: not engine.alive)
    gate.set()
    closing.join()
    assert len(running.answer().token_ids) == 12
    for stream in waiting:
        with pytest.raises(EngineClosedError):
            stream.answer()
    with pytest.raises(EngineClosedError):
        scored.result(timeout=10)
    with pytest.raises(EngineClosedError):
        engine.submit(make_request([5]))


def test_a_cancelled_row_ends_and_its_neighbours_go_on(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    prompts: Prompts,
) -> None:
    left, right = submit_together(
        engine, [make_request(prompts[0], max_tokens=200), make_request(prompts[1], adapters[3], max_tokens=30)]
    )
    deltas = []
    for delta in left:
        deltas.append(delta)
        left.cancel()
    assert deltas[-1].finish_reason == "cancelled"
    assert len(deltas) < 200
    check_greedy(right.answer().token_ids, oracle.greedy(prompts[1], adapters[3].folder, 30))


def test_a_request_cancelled_while_it_waits_is_not_run(
    start_engine: Start,
    make_request: MakeRequest,
    gate: threading.Event,
    batch_sizes: list[int],
    adapters: list[AdapterSource],
) -> None:
    engine = start_engine(max_num_seqs=1)
    running = engine.submit(make_request([5]))
    _wait_until(lambda: bool(batch_sizes))
    waiting = engine.submit(make_request([5], adapters[0]))
    waiting.cancel()
    gate.set()
    answer = waiting.answer()
    assert (answer.finish_reason, answer.token_ids, answer.text) == ("cancelled", (), "")
    running.answer()
    assert batch_sizes == [1]


def test_a_fault_inside_a_batch_fails_it_and_no_other(
    engine: Engine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: GenerationBatch) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(GenerationBatch, "run", fail)
        with pytest.raises(EngineFailedError):
            engine.submit(make_request([5])).answer()
    assert "a defect" in caplog.text
    assert engine.alive
    assert len(engine.submit(make_request([5])).answer().token_ids) == 12


def test_a_batch_holds_no_more_than_its_bounds(
    start_engine: Start, make_request: MakeRequest, submit_together: SubmitTogether, batch_sizes: list[int]
) -> None:
    engine = start_engine(max_num_seqs=3, max_num_batched_tokens=40)
    requests = [make_request([5] * length, max_tokens=1) for length in (1, 1, 1, 1, 18, 18, 18, 100)]
    for stream in submit_together(engine, requests):
        stream.answer()
    assert batch_sizes == [3, 2, 2, 1]


def test_requests_are_counted_under_vllms_names(engine: Engine, make_request: MakeRequest) -> None:
    engine.submit(make_request([5, 6, 7], max_tokens=4)).answer()
    text = generate_latest(engine._metrics.registry).decode()
    assert 'vllm:prompt_tokens_total{model_name="tiny"} 3.0' in text
    assert 'vllm:generation_tokens_total{model_name="tiny"} 4.0' in text
    assert 'vllm:request_success_total{finished_reason="length",model_name="tiny"} 1.0' in text
    assert 'vllm:num_requests_waiting{model_name="tiny"} 0.0' in text


def _wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError
