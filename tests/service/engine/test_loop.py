"""Continuous batching on the real tiny model: whatever happens beside it, a request gets what plain PEFT gives it."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from service.engine.engine import Engine
from service.engine.errors import AdapterLoadError, DeadlineError, EngineFailedError, InvalidGrammarError
from service.engine.loop import EngineLoop
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest, Grammar, ScoreRequest
from service.engine.residency.loading import AdapterLoader, LoadedAdapter
from service.engine.scheduling.scheduler import Part, Scheduler
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]
Start = Callable[..., Engine]
Check = Callable[..., bool]
Prompts = list[tuple[int, ...]]
Blends = list[tuple[tuple[AdapterUse, ...], Path]]
WaitUntil = Callable[[Callable[[], bool]], None]
TOKEN_BYTES = 512
"""Of the tiny base in the cache."""


def changed(adapter: AdapterSource, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> AdapterSource:
    """A copy with other weights."""
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter.folder / "adapter_config.json").read_bytes())
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    new = {name: change(name, tensor) for name, tensor in tensors.items()}
    save_file(new, folder / "adapter_model.safetensors")
    return AdapterSource(f"sha256:{folder.name}", folder, name=adapter.name)


@pytest.fixture
def loud(adapters: list[AdapterSource], tmp_path: Path) -> AdapterSource:
    """An adapter whose logits are no numbers."""
    return changed(adapters[0], tmp_path / "loud", lambda _, tensor: tensor * 1e30)


@pytest.fixture
def long_prompts(prompts: Prompts) -> Prompts:
    """Of 20 to 60 tokens, all with one beginning."""
    return [prompts[4][:17] + tuple(reversed(prompt)) + (at,) for at, prompt in enumerate(prompts)]


@pytest.fixture
def check_spoilt_nobody(oracle: Any, check_greedy: Check, make_request: MakeRequest) -> Callable[[Engine], None]:
    """`check(engine)`: requests that take the pages of all before them get the right answers."""
    numbers = count()

    def check(engine: Engine) -> None:
        prompts = [(5 + next(numbers), 6, 7 + at) for at in range(4)]
        streams = engine.submit_all([make_request(prompt, max_tokens=18) for prompt in prompts])
        for prompt, stream in zip(prompts, streams, strict=True):
            check_greedy(stream.answer().token_ids, oracle.greedy(prompt, None, 18))

    return check


def preemptions(engine: Engine) -> int:
    return engine._loop._scheduler.num_preemptions


@pytest.mark.parametrize(
    "config",
    [
        {"max_num_batched_tokens": 8, "max_num_seqs": 3},
        {"max_num_batched_tokens": 64, "page_tokens": 1, "max_loras": 2, "max_cpu_loras": 2},
        {"max_num_batched_tokens": 17, "page_tokens": 8, "cache_bytes": 120 * TOKEN_BYTES},
        {"max_num_batched_tokens": 33, "page_tokens": 4, "cache_bytes": 100 * TOKEN_BYTES, "prefix_caching": False},
        {"page_tokens": 5, "cache_bytes": 100 * TOKEN_BYTES, "max_loras": 3, "fused": False},
    ],
    ids=["small-steps", "few-slots", "few-pages", "no-prefixes", "reference"],
)
def test_any_arrival_chunk_page_and_eviction_gives_what_plain_peft_gives(
    config: dict[str, Any],
    start_engine: Start,
    adapters: list[AdapterSource],
    blends: Blends,
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
    long_prompts: Prompts,
) -> None:
    engine, random = start_engine(**config), Random(str(config))
    models: list[tuple[tuple[AdapterUse, ...], Path | None]] = [
        ((), None),
        *(((AdapterUse(source),), source.folder) for source in adapters),
        *blends,
    ]
    work = [(random.choice([*prompts, *long_prompts]), random.choice(models), random.randint(3, 14)) for _ in range(48)]
    streams: list[TokenStream] = []
    for prompt, (uses, _), length in work:
        streams.append(engine.submit(make_request(prompt, uses=uses, max_tokens=length)))
        time.sleep(random.choice([0, 0, 0.01]))
    excused = 0
    for (prompt, (_, folder), length), stream in zip(work, streams, strict=True):
        excused += check_greedy(stream.answer().token_ids, oracle.greedy(prompt, folder, length))
    assert excused <= 1
    assert (preemptions(engine) > 0) == ("cache_bytes" in config)
    if config.get("max_loras"):
        assert engine._residency.num_evictions >= 3


def test_a_beginning_that_was_computed_is_not_computed_again(
    start_engine: Start, oracle: Any, check_greedy: Check, make_request: MakeRequest, long_prompts: Prompts, steps: Any
) -> None:
    engine, prompt = start_engine(page_tokens=4), long_prompts[3]
    first = engine.submit(make_request(prompt)).answer()
    del steps.counts[:]
    again = engine.submit(make_request(prompt)).answer()
    assert (first.cached_tokens, again.cached_tokens) == (0, (len(prompt) - 1) // 4 * 4)
    assert steps.counts[0] == [len(prompt) - again.cached_tokens]
    assert again.token_ids == first.token_ids
    other = (*prompt[:18], 7, 8, 9)
    answer = engine.submit(make_request(other)).answer()
    assert answer.cached_tokens == 16
    check_greedy(answer.token_ids, oracle.greedy(other, None, 12))


def test_an_answer_is_part_of_the_next_turns_prompt(
    start_engine: Start, make_request: MakeRequest, long_prompts: Prompts
) -> None:
    engine, prompt = start_engine(page_tokens=4), long_prompts[0]
    tokens = engine.submit(make_request(prompt)).answer().token_ids
    following = engine.submit(make_request(prompt + tokens + (5, 6))).answer()
    # The last token of the answer was chosen, and never computed.
    assert following.cached_tokens == (len(prompt) + len(tokens) - 1) // 4 * 4


def test_copies_of_one_prompt_share_what_is_computed_first(
    start_engine: Start,
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    long_prompts: Prompts,
    adapters: list[AdapterSource],
    steps: Any,
) -> None:
    engine, prompt = start_engine(page_tokens=4), long_prompts[3]
    engine.submit(make_request((5,), adapters[0])).answer()
    del steps.counts[:]
    streams = engine.submit_all([make_request(prompt, adapters[0])] * 4)
    answers = [stream.answer() for stream in streams]
    for answer in answers:
        check_greedy(answer.token_ids, oracle.greedy(prompt, adapters[0].folder, 12))
    cached = (len(prompt) - 1) // 4 * 4
    assert sorted(answer.cached_tokens for answer in answers) == [0, cached, cached, cached]
    assert sum(map(sum, steps.counts)) == len(prompt) + 3 * (len(prompt) - cached) + 4 * 11


def test_tenants_adapters_and_scales_share_nothing(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, long_prompts: Prompts
) -> None:
    engine, prompt = start_engine(page_tokens=4), long_prompts[3]

    def cached(**values: Any) -> int:
        return engine.submit(make_request(prompt, **values)).answer().cached_tokens

    half = [AdapterUse(adapters[0], 0.5)]
    both = [AdapterUse(adapters[0]), AdapterUse(adapters[1])]
    kinds: list[dict[str, Any]] = [
        {},
        {"tenant": "acme"},
        {"adapter": adapters[0]},
        {"adapter": adapters[0], "tenant": "acme"},
        {"adapter": adapters[1]},
        {"uses": half},
        {"uses": both},
    ]
    assert [cached(**kind) for kind in kinds] == [0] * len(kinds)
    assert all(cached(**kind) > 0 for kind in kinds)


def test_another_content_under_the_same_name_never_meets_the_old_ones_cache(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    long_prompts: Prompts,
) -> None:
    engine, prompt = start_engine(page_tokens=4), long_prompts[3]
    for source in (adapters[0], adapters[1]):
        published = AdapterSource(source.digest, source.folder, name="support")
        answer = engine.submit(make_request(prompt, published)).answer()
        assert answer.cached_tokens == 0
        check_greedy(answer.token_ids, oracle.greedy(prompt, source.folder, 12))


def test_a_preempted_answer_goes_on_where_it_was(
    start_engine: Start,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    long_prompts: Prompts,
) -> None:
    engine = start_engine(page_tokens=4, cache_bytes=120 * TOKEN_BYTES, prefix_caching=False)
    requests = [make_request(prompt, adapters[0], max_tokens=40) for prompt in long_prompts[:4]]
    streams = engine.submit_all(requests)
    for request, stream in zip(requests, streams, strict=True):
        found = [token for delta in stream for token in delta.token_ids]
        check_greedy(found, oracle.greedy(request.prompt_ids, adapters[0].folder, 40))
    assert preemptions(engine) > 0
    counted = engine._metrics.registry.get_sample_value("vllm:num_preemptions_total", {"model_name": "tiny"})
    assert counted == preemptions(engine)


def test_a_seed_gives_the_same_text_through_chunks_and_preemption(
    start_engine: Start, make_request: MakeRequest, long_prompts: Prompts, adapters: list[AdapterSource]
) -> None:
    request = make_request(long_prompts[1], adapters[1], temperature=0.9, top_p=0.95, seed=3, max_tokens=30)
    alone = start_engine().submit(request).answer().token_ids
    crowded = start_engine(page_tokens=4, cache_bytes=120 * TOKEN_BYTES, max_num_batched_tokens=16)
    others = [make_request(prompt, temperature=1.0, max_tokens=40) for prompt in long_prompts[2:6]]
    assert crowded.submit_all([*others, request])[-1].answer().token_ids == alone
    assert preemptions(crowded) > 0


def test_cancelling_gives_the_pages_back_within_a_step(
    start_engine: Start, make_request: MakeRequest, steps: Any, wait_until: WaitUntil
) -> None:
    engine = start_engine(max_num_seqs=1, prefix_caching=False)
    steps.hold()
    stream = engine.submit(make_request([5] * 40, max_tokens=200))
    steps.let(3)
    wait_until(lambda: steps.begun == 4 + 2)
    assert engine._loop._pages.usage > 0
    waiting = engine.submit(make_request([6], max_tokens=1))
    stream.cancel()
    # The step under way ends, and the next is another's.
    steps.let(1)
    wait_until(lambda: len(steps.counts) == 4 + 2 and steps.begun == 5 + 2)
    assert engine._loop._pages.usage == 1 / engine._loop._pages.num_pages
    steps.go()
    assert list(stream)[-1].finish_reason == "cancelled"
    assert waiting.answer().finish_reason == "length"
    assert engine._loop._pages.usage == 0


def test_a_cancelled_row_ends_and_its_neighbours_go_on(
    engine: Engine,
    adapters: list[AdapterSource],
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    submit_together: Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]],
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


def test_time_runs_out_for_those_who_wait_and_those_who_run(
    start_engine: Start, make_request: MakeRequest, steps: Any, adapters: list[AdapterSource]
) -> None:
    engine = start_engine(max_num_seqs=1)
    steps.hold()
    running = engine.submit(make_request([5], timeout_seconds=0.1, max_tokens=200))
    waiting = engine.submit(make_request([5], timeout_seconds=0.1))
    patient = engine.submit(make_request([5], adapters[0]))
    time.sleep(0.15)
    steps.go()
    for stream in (running, waiting):
        with pytest.raises(DeadlineError, match=r"within 0\.1 s"):
            stream.answer()
    assert len(patient.answer().token_ids) == 12


def test_time_runs_out_while_an_adapter_is_loaded(
    start_engine: Start, make_request: MakeRequest, cold: "Cold", adapters: list[AdapterSource]
) -> None:
    engine = start_engine()
    with pytest.raises(DeadlineError):
        engine.submit(make_request([5], cold.source, timeout_seconds=0.2)).answer()
    cold.arrived.set()
    assert len(engine.submit(make_request([5], adapters[0])).answer().token_ids) == 12


class Cold:
    """An adapter whose files are slow to come."""

    def __init__(self, source: AdapterSource) -> None:
        self.source = source
        self.arrived = threading.Event()


@pytest.fixture
def cold(adapters: list[AdapterSource], monkeypatch: pytest.MonkeyPatch) -> Cold:
    made, genuine = Cold(adapters[5]), AdapterLoader.load

    def load(loader: AdapterLoader, source: AdapterSource) -> LoadedAdapter:
        assert source != made.source or made.arrived.wait(30)
        return genuine(loader, source)

    monkeypatch.setattr(AdapterLoader, "load", load)
    return made


def test_a_cold_load_blocks_nobody_who_has_an_adapter(
    start_engine: Start,
    adapters: list[AdapterSource],
    cold: Cold,
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
) -> None:
    engine = start_engine()
    engine.submit(make_request(prompts[0], adapters[0])).answer()
    late = engine.submit(make_request(prompts[1], cold.source))
    for model in (None, adapters[0]):
        folder = None if model is None else model.folder
        answer = engine.submit(make_request(prompts[1], model)).answer()
        check_greedy(answer.token_ids, oracle.greedy(prompts[1], folder, 12))
    assert engine.placement(cold.source.digest) == "store"
    cold.arrived.set()
    check_greedy(late.answer().token_ids, oracle.greedy(prompts[1], cold.source.folder, 12))
    assert engine.placement(cold.source.digest) == "device"


def test_an_adapter_without_a_slot_is_not_kept_waiting_by_unceasing_others(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, prompts: Prompts
) -> None:
    engine, done = start_engine(max_loras=2, max_num_seqs=8), threading.Event()

    def insist(source: AdapterSource) -> None:
        while not done.is_set():
            engine.submit(make_request(prompts[0], source, max_tokens=8)).answer()

    crowd = [threading.Thread(target=insist, args=[adapters[at % 2]]) for at in range(4)]
    for each in crowd:
        each.start()
    try:
        answers = [engine.submit(make_request(prompts[0], adapters[at], timeout_seconds=20)).answer() for at in (2, 3)]
    finally:
        done.set()
        for each in crowd:
            each.join()
    assert [len(answer.token_ids) for answer in answers] == [12, 12]


def test_merges_that_share_few_slots_do_not_wait_for_each_other_for_ever(
    start_engine: Start, adapters: list[AdapterSource], make_request: MakeRequest, cold: Cold
) -> None:
    engine = start_engine(max_loras=2)
    engine.submit(make_request([5], adapters[0])).answer()
    slow = engine.submit(make_request([5], adapters[4], max_tokens=200))
    # The second has one of its adapters at once, and would keep it from the first.
    first = engine.submit(
        make_request([5], uses=[AdapterUse(adapters[1]), AdapterUse(adapters[2])], timeout_seconds=20)
    )
    second = engine.submit(
        make_request([5], uses=[AdapterUse(adapters[0]), AdapterUse(cold.source)], timeout_seconds=20)
    )
    cold.arrived.set()
    assert len(slow.answer().token_ids) == 200
    assert [len(stream.answer().token_ids) for stream in (first, second)] == [12, 12]


def test_an_adapter_whose_output_is_no_number_fails_only_its_own_rows(
    engine: Engine,
    adapters: list[AdapterSource],
    loud: AdapterSource,
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
    steps: Any,
) -> None:
    models = (None, adapters[1], loud)
    warm = [make_request([5], model) for model in models]
    with pytest.raises(EngineFailedError):
        [stream.answer() for stream in engine.submit_all(warm)]
    prompt = prompts[4]
    del steps.counts[:]
    left, right, bad = engine.submit_all([make_request(prompt, model) for model in models])
    with pytest.raises(EngineFailedError, match="not a number"):
        bad.answer()
    check_greedy(left.answer().token_ids, oracle.greedy(prompt, None, 12))
    check_greedy(right.answer().token_ids, oracle.greedy(prompt, adapters[1].folder, 12))
    assert steps.counts[0] == [len(prompt)] * 3


def test_what_is_no_number_spoils_nobody_however_it_came_into_the_cache(
    start_engine: Start,
    loud: AdapterSource,
    make_request: MakeRequest,
    wait_until: WaitUntil,
    steps: Any,
    check_spoilt_nobody: Callable[[Engine], None],
) -> None:
    engine = start_engine(page_tokens=4, max_num_batched_tokens=8, max_num_seqs=4, cache_bytes=100 * TOKEN_BYTES)
    with pytest.raises(EngineFailedError):
        engine.submit(make_request([5] * 30, loud)).answer()
    check_spoilt_nobody(engine)
    with pytest.raises(EngineFailedError):
        engine.submit(make_request([5] * 30, loud, prompt_logprobs=0, max_tokens=0)).answer()
    check_spoilt_nobody(engine)
    uses = (AdapterUse(loud),)
    (scored,) = engine.score([ScoreRequest(context_ids=(5, 6), continuations=((7, 8, 9),), adapters=uses)])
    with pytest.raises(EngineFailedError, match="not a number"):
        scored.result(10)
    check_spoilt_nobody(engine)
    nothing = engine.submit(make_request([5], loud, prompt_logprobs=0, max_tokens=0)).answer()
    assert nothing.prompt_logprobs == ()
    check_spoilt_nobody(engine)
    del steps.counts[:]
    steps.hold()
    begun = engine.submit(make_request([5] * 60, loud))
    steps.let(2)
    wait_until(lambda: len(steps.counts) == 2)
    begun.cancel()
    steps.go()
    assert begun.answer().finish_reason == "cancelled"
    check_spoilt_nobody(engine)
    del steps.counts[:]
    steps.hold()
    failing = engine.submit(make_request([6] * 60, loud))
    steps.let(2)
    wait_until(lambda: len(steps.counts) == 2)
    steps.num_faults = 1
    steps.go()
    with pytest.raises(EngineFailedError, match="server's log"):
        failing.answer()
    check_spoilt_nobody(engine)


def test_a_preempted_prompt_leaves_no_nans_to_others(
    start_engine: Start,
    loud: AdapterSource,
    oracle: Any,
    check_greedy: Check,
    make_request: MakeRequest,
    prompts: Prompts,
) -> None:
    engine = start_engine(
        page_tokens=4, cache_bytes=100 * TOKEN_BYTES, max_num_batched_tokens=8, max_num_seqs=4, prefix_caching=False
    )
    with pytest.raises(EngineFailedError):
        engine.submit(make_request([5], loud)).answer()
    good = [make_request(prompts[at], max_tokens=30) for at in (0, 5)]
    streams = engine.submit_all([*good, make_request([5] * 88, loud)])
    for request, stream in zip(good, streams, strict=False):
        check_greedy(stream.answer().token_ids, oracle.greedy(request.prompt_ids, None, 30))
    with pytest.raises(EngineFailedError):
        streams[-1].answer()
    assert preemptions(engine) > 0


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_whatever_the_last_owner_of_a_page_left_spoils_nobody(
    prefix_caching: bool,
    start_engine: Start,
    make_request: MakeRequest,
    check_spoilt_nobody: Callable[[Engine], None],
) -> None:
    engine = start_engine(page_tokens=4, cache_bytes=100 * TOKEN_BYTES, prefix_caching=prefix_caching)
    prompts = [tuple(range(first, first + 45)) for first in (10, 60)]
    for stream in engine.submit_all([make_request(prompt, max_tokens=4) for prompt in prompts]):
        stream.answer()
    # As if its early tokens, which a sliding window keeps out of sight, had keys that are no numbers.
    pool = engine._loop._pages._pool
    for layer in engine._runner.cache.layers:
        for page in {*range(engine._runner.cache.num_pages)} - {*pool._clear}:
            layer[page * 4 : (page + 1) * 4] = torch.nan
    for _ in range(3):
        check_spoilt_nobody(engine)


def test_a_failing_step_fails_its_own_requests_and_the_engine_goes_on(
    start_engine: Start, make_request: MakeRequest, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start_engine(max_num_seqs=1)
    for _ in range(3):
        steps.num_faults = 2
        with engine._changed:
            streams = engine.submit_all([make_request([5])] * 3)
        for stream in streams[:2]:
            with pytest.raises(EngineFailedError, match="server's log"):
                stream.answer()
        assert len(streams[2].answer().token_ids) == 12
    assert "a defect" in caplog.text
    assert engine.alive
    assert engine._loop._pages.usage == 0


def test_three_failing_steps_in_a_row_end_the_engine_and_everybody_is_told(
    start_engine: Start, make_request: MakeRequest, steps: Any, adapters: list[AdapterSource], cold: Cold
) -> None:
    died: list[bool] = []
    engine: Engine = start_engine(max_num_seqs=1, on_death=lambda: died.append(engine.alive))
    engine.pin(adapters[0]).result(10)
    late = engine.pin(cold.source)
    steps.num_faults = 100
    with engine._changed:
        streams = engine.submit_all([make_request([5], model) for model in (None, None, None, None, cold.source)])
        (scored,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),))])
    for stream in streams:
        with pytest.raises(EngineFailedError):
            stream.answer()
    with pytest.raises(EngineFailedError):
        scored.result(10)
    engine._thread.join(10)
    assert died == [False]
    cold.arrived.set()
    with pytest.raises(EngineFailedError):
        late.result(10)


def test_logprobs_are_the_oracles_through_chunks_and_preemption(
    start_engine: Start, adapters: list[AdapterSource], oracle: Any, make_request: MakeRequest, long_prompts: Prompts
) -> None:
    engine = start_engine(page_tokens=4, cache_bytes=130 * TOKEN_BYTES, max_num_batched_tokens=16, max_logits=340 * 7)
    models = [None, adapters[0], adapters[2], adapters[3]]
    for model in models:
        engine.submit(make_request([5], model)).answer()
    work = list(zip(long_prompts, models, strict=False))
    streams = engine.submit_all(
        [make_request(prompt, model, max_tokens=24, logprobs=3, prompt_logprobs=2) for prompt, model in work]
    )
    for (prompt, model), stream in zip(work, streams, strict=True):
        deltas = list(stream)
        ids = prompt + tuple(token for delta in deltas for token in delta.token_ids)
        assert len(ids) == len(prompt) + 24
        assert all(delta.prompt_logprobs == () for delta in deltas[1:])
        of_prompt = deltas[0].prompt_logprobs
        of_answer = tuple(found for delta in deltas for found in delta.logprobs)
        expected = oracle.logits(ids, None if model is None else model.folder).log_softmax(-1)
        for number, found in enumerate(of_prompt + of_answer, start=1):
            wanted = expected[number - 1]
            assert found.token_id == ids[number]
            assert found.logprob == pytest.approx(wanted[ids[number]].item(), abs=2e-4)
            likeliest = wanted.topk(2 if number < len(prompt) else 3).values.tolist()
            assert [value for _, value in found.top] == pytest.approx(likeliest, abs=2e-4)
        assert len(of_prompt + of_answer) == len(ids) - 1
    assert preemptions(engine) > 0


def test_a_prompt_can_be_scored_without_an_answer(engine: Engine, oracle: Any, make_request: MakeRequest) -> None:
    prompt = (5, 9, 200, 31)
    answer = engine.submit(make_request(prompt, max_tokens=0, prompt_logprobs=1)).answer()
    assert (answer.token_ids, answer.text, answer.finish_reason) == ((), "", "length")
    expected = oracle.logits(prompt, None).log_softmax(-1)
    wanted = [expected[at - 1, prompt[at]].item() for at in (1, 2, 3)]
    assert [found.logprob for found in answer.prompt_logprobs] == pytest.approx(wanted, abs=1e-4)
    single = engine.submit(make_request((5,), max_tokens=0, prompt_logprobs=1)).answer()
    assert (single.prompt_logprobs, single.finish_reason) == ((), "length")


def test_no_step_holds_more_than_its_bounds(
    start_engine: Start, make_request: MakeRequest, submit_together: Any, steps: Any
) -> None:
    engine = start_engine(max_num_seqs=3, max_num_batched_tokens=40)
    del steps.counts[:]
    requests = [make_request([5] * length, max_tokens=3) for length in (1, 1, 1, 1, 18, 18, 18, 100)]
    for stream in submit_together(engine, requests):
        stream.answer()
    assert max(map(len, steps.counts)) == 3
    assert max(map(sum, steps.counts)) == 40


def test_what_the_engine_shows_is_of_now_also_when_it_is_idle(
    start_engine: Start, make_request: MakeRequest, wait_until: WaitUntil, tmp_path: Path
) -> None:
    engine = start_engine()

    def shown(name: str) -> float | None:
        return engine._metrics.registry.get_sample_value(name, {"model_name": "tiny"})

    stream = engine.submit(make_request([5], max_tokens=250))
    next(iter(stream))
    wait_until(lambda: shown("vllm:num_requests_running") == 1)
    stream.cancel()
    wait_until(lambda: shown("vllm:num_requests_running") == 0)
    assert shown("vllm:kv_cache_usage_perc") == 0
    missing = AdapterSource("sha256:missing", tmp_path / "missing")
    with pytest.raises(AdapterLoadError):
        engine.submit(make_request([5], missing)).answer()
    wait_until(lambda: shown("vllm:num_requests_waiting") == 0)
    assert shown("lorad:adapter_loads_total") == 0


def test_an_engine_that_can_plan_nothing_waits_for_news(
    start_engine: Start, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, plans, allowed, genuine = start_engine(), list[None](), threading.Event(), Scheduler.plan

    def plan(scheduler: Scheduler) -> list[Part]:
        plans.append(None)
        return genuine(scheduler) if allowed.is_set() else []

    monkeypatch.setattr(Scheduler, "plan", plan)
    stream = engine.submit(make_request([5]))
    time.sleep(0.3)
    assert len(plans) == 1
    allowed.set()
    engine._notify()
    assert len(stream.answer().token_ids) == 12


def test_a_cancellation_is_news(start_engine: Start, make_request: MakeRequest, cold: "Cold") -> None:
    engine = start_engine()
    stream = engine.submit(make_request([5], cold.source, timeout_seconds=None))
    uses = (AdapterUse(cold.source),)
    (scored,) = engine.score([ScoreRequest(context_ids=(5,), continuations=((6,),), adapters=uses)])
    stream.cancel()
    assert stream.answer().finish_reason == "cancelled"
    assert scored.cancel()
    cold.arrived.set()


def test_a_scoring_has_its_time_too(start_engine: Start, cold: "Cold") -> None:
    engine = start_engine()
    uses = (AdapterUse(cold.source),)
    request = ScoreRequest(context_ids=(5,), continuations=((6,),), adapters=uses, timeout_seconds=0.1)
    (scored,) = engine.score([request])
    with pytest.raises(DeadlineError, match=r"within 0\.1 s"):
        scored.result(20)
    cold.arrived.set()


def test_an_adapter_that_cannot_be_read_in_time_fails_its_requests_and_holds_up_nobody(
    start_engine: Start, make_request: MakeRequest, cold: "Cold", adapters: list[AdapterSource]
) -> None:
    engine = start_engine(load_timeout_seconds=0.2)
    late = engine.submit(make_request([5], cold.source))
    assert len(engine.submit(make_request([5], adapters[0])).answer().token_ids) == 12
    with pytest.raises(AdapterLoadError, match=r"partial could not be read: 1 reads have not ended within 0\.2 s"):
        late.answer()
    cold.arrived.set()


def test_a_grammar_that_turns_out_broken_within_a_step_fails_only_its_own_request(
    start_engine: Start, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, look = start_engine(), EngineLoop._look_at_waiting
    future: Future[Any] = Future()
    monkeypatch.setattr(engine._grammars, "compile", lambda _: future)

    def look_too_early(loop: EngineLoop) -> None:
        look(loop)
        if loop.num_waiting and not future.done():
            future.set_exception(InvalidGrammarError("broken"))

    monkeypatch.setattr(EngineLoop, "_look_at_waiting", look_too_early)
    with engine._changed:
        broken, good = engine.submit_all([make_request([5], grammar=Grammar("regex", "(")), make_request([5])])
    with pytest.raises(InvalidGrammarError, match="broken"):
        broken.answer()
    assert len(good.answer().token_ids) == 12
