"""Hundreds of requests, more adapters than places: each answer is plain PEFT's; `benchmarks/cross_talk.py` in small."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.engine.engine import Engine
from service.engine.request import AdapterSource, GenerationRequest

NUM_REQUESTS = 300
NUM_NEW = 8
MAX_LORAS = 4
MAX_EXCUSED = 0.002
KINDS: tuple[dict[str, Any], ...] = (
    {"rank": 4},
    {"rank": 16},
    {"rank": 8, "rslora": True},
    {"rank": 4, "rank_pattern": {"o_proj": 12}, "alpha_pattern": {"v_proj": 32}},
    {"rank": 6, "dora": True},
    {"rank": 4, "targets": ("q_proj", "down_proj")},
)


@pytest.fixture(scope="module")
def sources(make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[AdapterSource]:
    """Two of each kind."""
    home = tmp_path_factory.mktemp("cross_talk")
    names = [f"{at % len(KINDS)}-{at // len(KINDS)}" for at in range(2 * len(KINDS))]
    return [
        AdapterSource(f"sha256:{name}", make_adapter(home / name, seed=at + 40, **KINDS[at % len(KINDS)]), name=name)
        for at, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_num_seqs": 16, "max_num_batched_tokens": 64},
        {"max_num_seqs": 6, "max_num_batched_tokens": 20, "page_tokens": 4, "cache_bytes": 1 << 17, "max_cpu_loras": 6},
    ],
    ids=["roomy", "cramped"],
)
def test_no_request_notices_the_others(
    bounds: dict[str, int],
    sources: list[AdapterSource],
    oracle: Any,
    check_greedy: Callable[..., bool],
    start_engine: Callable[..., Engine],
    make_request: Callable[..., GenerationRequest],
) -> None:
    chance = random.Random(5)
    pool = [tuple(chance.randrange(4, 300) for _ in range(chance.randrange(5, 60))) for _ in range(6)]
    asked = [(chance.choice(pool), chance.choice([None, *sources])) for _ in range(NUM_REQUESTS)]
    engine = start_engine(max_loras=MAX_LORAS, **bounds)
    streams = engine.submit_all([make_request(prompt, model, max_tokens=NUM_NEW) for prompt, model in asked])
    excused, answers = 0, set()
    for (prompt, model), stream in zip(asked, streams, strict=True):
        found = stream.answer().token_ids
        excused += check_greedy(found, oracle.greedy(prompt, None if model is None else model.folder, NUM_NEW))
        answers.add(found)
    assert excused <= MAX_EXCUSED * NUM_REQUESTS
    assert engine._residency.num_evictions
    # Answers that are alike could change places unseen.
    assert len(answers) > len(set(asked)) * 0.8
