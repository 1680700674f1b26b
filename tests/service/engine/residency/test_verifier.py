"""What a freshly loaded adapter must show before it answers, in the running engine."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.manifest import BaseIdentity, GoldenLogits, Manifest
from service.engine.engine import Engine
from service.engine.errors import AdapterLoadError, EngineFailedError
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, ScoreRequest

MakeRequest = Callable[..., GenerationRequest]
Start = Callable[..., Engine]
Prompts = list[tuple[int, ...]]
WEIGHTS = "adapter_model.safetensors"
GOLDEN_PROMPT = (4, 8, 15, 16, 23, 42)


@pytest.fixture
def copied(adapters: list[AdapterSource], tmp_path: Path) -> AdapterSource:
    """An adapter whose files may be changed."""
    shutil.copytree(adapters[1].folder, tmp_path / "copy")
    return AdapterSource("sha256:copy", tmp_path / "copy", name="support@3")


def record(source: AdapterSource, oracle: Any, of: Path, **values: Any) -> None:
    """Golden logits, as a trainer writes them, of the adapter in folder `of`."""
    top = oracle.logits(GOLDEN_PROMPT, of)[-1].topk(5)
    known: dict[str, Any] = {
        "prompt_ids": GOLDEN_PROMPT,
        "top_ids": tuple(top.indices.tolist()),
        "top_logits": tuple(top.values.tolist()),
        "quantization": "none",
        "dtype": "float32",
    }
    identity = BaseIdentity(name="tiny", digest="assumed")
    Manifest(base=identity, golden=GoldenLogits(**{**known, **values})).write(source.folder)


def change(source: AdapterSource, edit: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(source.folder / WEIGHTS)
    save_file({name: edit(name, tensor).contiguous() for name, tensor in tensors.items()}, source.folder / WEIGHTS)


def test_an_adapter_that_meets_its_golden_logits_answers(
    engine: Engine,
    copied: AdapterSource,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    prompts: Prompts,
    steps: Any,
) -> None:
    record(copied, oracle, adapters[1].folder)
    del steps.counts[:]
    answer = engine.submit(make_request(prompts[1], copied)).answer()
    check_greedy(answer.token_ids, oracle.greedy(prompts[1], adapters[1].folder, 12))
    assert steps.counts[0] == [len(GOLDEN_PROMPT)]
    del steps.counts[:]
    engine.submit(make_request((5,), copied)).answer()
    assert steps.counts == [[1]] * 12


def test_an_adapter_that_misses_its_golden_logits_is_refused_and_others_go_on(
    engine: Engine,
    copied: AdapterSource,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    prompts: Prompts,
) -> None:
    record(copied, oracle, adapters[0].folder)
    streams = [engine.submit(make_request(prompts[1], model)) for model in (copied, adapters[1], None, copied)]
    for at in (0, 3):
        with pytest.raises(AdapterLoadError, match=r"support@3: its logits after the golden prompt are off by"):
            streams[at].answer()
    check_greedy(streams[1].answer().token_ids, oracle.greedy(prompts[1], adapters[1].folder, 12))
    check_greedy(streams[2].answer().token_ids, oracle.greedy(prompts[1], None, 12))
    with pytest.raises(AdapterLoadError, match="golden"):
        engine.submit(make_request(prompts[1], uses=[AdapterUse(adapters[1]), AdapterUse(copied)])).answer()
    (scored,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),), adapters=(AdapterUse(copied),))])
    with pytest.raises(AdapterLoadError, match="golden"):
        scored.result(10)


@pytest.mark.parametrize(
    "values",
    [{"prompt_ids": (10**9,)}, {"top_ids": (10**6,) * 5}, {"top_logits": (1.0,)}, {"prompt_ids": (5,) * 5000}],
    ids=["prompt", "ids", "logits", "length"],
)
def test_a_manifest_that_makes_no_sense_harms_nobody(
    values: dict[str, Any],
    engine: Engine,
    copied: AdapterSource,
    adapters: list[AdapterSource],
    oracle: Any,
    make_request: MakeRequest,
) -> None:
    record(copied, oracle, adapters[1].folder, **values)
    streams = [engine.submit(make_request([5], model, timeout_seconds=10)) for model in (copied, adapters[0])]
    assert [len(stream.answer().token_ids) for stream in streams] == [12, 12]


def test_weights_that_are_not_zero_and_change_nothing_are_refused(
    engine: Engine, copied: AdapterSource, adapters: list[AdapterSource], make_request: MakeRequest
) -> None:
    def halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A uses the first half of the ranks, B the second."""
        half = torch.arange(16) < 8
        return tensor * half[:, None] if "lora_A" in name else tensor * ~half

    change(copied, halved)
    refused, other = (engine.submit(make_request([5], model)) for model in (copied, adapters[0]))
    with pytest.raises(AdapterLoadError, match=r"support@3: its weights are not zero, yet the logits"):
        refused.answer()
    assert len(other.answer().token_ids) == 12


@pytest.mark.parametrize("zero", ["lora_A", "lora_B"])
@pytest.mark.parametrize("has_manifest", [True, False])
def test_weights_of_zeros_answer_as_the_base(
    zero: str,
    has_manifest: bool,
    engine: Engine,
    copied: AdapterSource,
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    prompts: Prompts,
) -> None:
    if has_manifest:
        # As of a training that moved nothing: it does not know that the weights are an identity.
        record(copied, oracle, copied.folder, quantization="nf4")
    change(copied, lambda name, tensor: tensor * 0 if zero in name else tensor)
    answer = engine.submit(make_request(prompts[1], copied)).answer()
    check_greedy(answer.token_ids, oracle.greedy(prompts[1], None, 12))


def test_an_adapter_that_ceases_to_be_wanted_while_it_is_checked_harms_nobody(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, steps: Any
) -> None:
    engine = start_engine(max_loras=1)
    steps.hold()
    gone = engine.submit(make_request([5], adapters[0]))
    gone.cancel()
    steps.go()
    assert gone.answer().finish_reason == "cancelled"
    for source in adapters[:2]:
        assert len(engine.submit(make_request([5], source)).answer().token_ids) == 12


def test_an_adapter_that_waits_for_its_check_does_not_hold_up_the_one_that_it_makes_room_for(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, steps: Any, wait_until: Any
) -> None:
    engine = start_engine(max_loras=1, max_num_seqs=1)
    engine._residency._limits = type(engine._residency._limits)(device=1, host=4, patience_seconds=0)
    steps.hold()
    begun = steps.begun
    busy = engine.submit(make_request([5], max_tokens=3))
    wait_until(lambda: steps.begun > begun)
    # It gets the slot while the step lasts, and another adapter becomes overdue before its check is queued.
    first = engine.submit(make_request([5], adapters[0], timeout_seconds=20))
    wait_until(lambda: engine.placement(adapters[0].digest) == "device")
    second = engine.submit(make_request([5], adapters[1], timeout_seconds=20))
    third = engine.submit(make_request([5], adapters[0], timeout_seconds=20))
    steps.go()
    assert [len(stream.answer().token_ids) for stream in (busy, first, second, third)] == [3, 12, 12, 12]


def test_a_check_that_fails_with_a_step_is_done_again(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, steps: Any
) -> None:
    engine = start_engine()
    steps.num_faults = 1
    assert len(engine.submit(make_request([5], adapters[0])).answer().token_ids) == 12


def test_a_check_that_keeps_failing_refuses_the_adapter_before_it_ends_the_engine(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, steps: Any
) -> None:
    engine = start_engine()
    steps.num_faults = 2
    with pytest.raises(AdapterLoadError, match="the steps that checked it failed"):
        engine.submit(make_request([5], adapters[0])).answer()
    assert steps.num_faults == 0
    assert len(engine.submit(make_request([5], adapters[1])).answer().token_ids) == 12


def test_checks_need_no_more_than_one_place_each_under_pressure(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, prompts: Prompts
) -> None:
    engine = start_engine(max_num_seqs=1, max_loras=2, page_tokens=4, cache_bytes=64 * 512)
    requests = [make_request(prompts[0], source, max_tokens=3) for source in adapters]
    streams = [engine.submit(request) for request in requests]
    assert [len(stream.answer().token_ids) for stream in streams] == [3] * 6


def test_an_adapter_without_numbers_passes_the_check_and_fails_its_requests(
    engine: Engine, copied: AdapterSource, make_request: MakeRequest
) -> None:
    change(copied, lambda _, tensor: tensor * 1e30)
    for _ in range(2):
        with pytest.raises(EngineFailedError, match="not a number"):
            engine.submit(make_request([5], copied)).answer()


def test_a_check_whose_logits_are_no_numbers_spoils_nobody(
    start_engine: Start,
    copied: AdapterSource,
    oracle: Any,
    check_greedy: Callable[..., bool],
    make_request: MakeRequest,
    steps: Any,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    engine = start_engine(page_tokens=4, cache_bytes=8 * 4 * 512)
    change(copied, lambda _, tensor: tensor * 1e30)
    steps.hold()
    begun = steps.begun
    gone = engine.submit(make_request([5], copied, max_tokens=2))
    wait_until(lambda: steps.begun == begun + 1)
    gone.cancel()
    steps.go()
    assert gone.answer().finish_reason == "cancelled"
    for at in range(3):
        answer = engine.submit(make_request([5, 6, at], max_tokens=18)).answer()
        check_greedy(answer.token_ids, oracle.greedy((5, 6, at), None, 18))
