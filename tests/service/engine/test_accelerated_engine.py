"""The whole engine through the grouped routing, fixed inputs and recorded passes, as on a GPU; DoRA goes without."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.model import runner
from service.engine.model.acceleration import Acceleration
from service.engine.model.recording import Recorded
from service.engine.request import AdapterSource, AdapterUse, GenerationRequest


@pytest.mark.parametrize(
    "config",
    [
        {"max_num_batched_tokens": 16, "max_num_seqs": 5, "page_tokens": 4, "max_loras": 3, "max_cpu_loras": 3},
        {"max_num_batched_tokens": 33, "page_tokens": 4, "cache_bytes": 100 * 512, "fused": False},
    ],
    ids=["few-slots", "few-pages"],
)
def test_arrivals_evictions_and_preemptions_give_what_plain_peft_gives(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    torch_acceleration: Acceleration,
    start_engine: Callable[..., Engine],
    make_request: Callable[..., GenerationRequest],
    adapters: list[AdapterSource],
    blends: Sequence[tuple[tuple[AdapterUse, ...], Path]],
    prompts: Sequence[tuple[int, ...]],
    oracle: Any,
    check_greedy: Callable[..., bool],
) -> None:
    replays: list[int] = []

    def record(work: Callable[[], torch.Tensor]) -> Recorded:
        recorded = torch_acceleration.record(work)

        def replay() -> None:
            replays.append(len(recorded.logits_BV))
            recorded.replay()

        return Recorded(replay, recorded.logits_BV)

    monkeypatch.setattr(runner, "find_acceleration", lambda _: replace(torch_acceleration, record=record))
    engine, random = start_engine(**config), Random(3)
    models: list[tuple[tuple[AdapterUse, ...], Path | None]] = [
        ((), None),
        *(((AdapterUse(source),), source.folder) for source in adapters if source.name != "dora"),
        *blends,
    ]
    work = [(random.choice(prompts), random.choice(models), random.randint(3, 20)) for _ in range(30)]
    streams = [engine.submit(make_request(prompt, uses=uses, max_tokens=length)) for prompt, (uses, _), length in work]
    excused = sum(
        check_greedy(stream.answer().token_ids, oracle.greedy(prompt, folder, length))
        for (prompt, (_, folder), length), stream in zip(work, streams, strict=True)
    )
    assert excused <= 1
    assert len(replays) > 10
    assert len(set(replays)) > 1
