from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from base.loader import LoadOptions, load
from base.source import BaseSource
from service.engine.batch import GenerationBatch
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource, EngineConfig, GenerationRequest, SamplingParams
from service.engine.stream import TokenStream

MAX_EXCUSED_GAP = 1e-3
"""Two logits closer than this may change places by the rounding of float32."""

PROMPTS = (
    "hello",
    "what is the answer to the question?",
    "one two three",
    "### Instruction:\nSay hello.\n\n### Response:\n",
    "the text of the ticket: orders and refunds, orders and refunds, again and again",
    "a",
    "日本 é",
)


@dataclass(frozen=True)
class Greedy:
    """What the oracle chose, and how far ahead of the second best each choice was."""

    token_ids: tuple[int, ...]
    gaps: tuple[float, ...]


class Oracle:
    """Greedy tokens of plain PEFT on plain transformers: one prompt, one adapter, no cache."""

    def __init__(self, peft_model: Callable[..., Any], folder: Path) -> None:
        self._model = cache(lambda adapter: peft_model(adapter, folder))
        self.greedy = cache(self._greedy)

    @torch.no_grad()
    def logits(self, token_ids: Sequence[int], adapter: Path | None) -> torch.Tensor:
        """[tokens, vocabulary]"""
        found: torch.Tensor = self._model(adapter)(torch.tensor([list(token_ids)]), use_cache=False).logits[0]
        return found

    def _greedy(
        self, prompt_ids: tuple[int, ...], adapter: Path | None, num_new: int, stop_ids: frozenset[int] = frozenset()
    ) -> Greedy:
        ids = list(prompt_ids)
        gaps: list[float] = []
        while len(gaps) < num_new and not (gaps and ids[-1] in stop_ids):
            top = self.logits(ids, adapter)[-1].topk(2)
            ids.append(int(top.indices[0]))
            gaps.append(float(top.values[0] - top.values[1]))
        return Greedy(tuple(ids[len(prompt_ids) :]), tuple(gaps))


@pytest.fixture(scope="session")
def make_oracle(peft_model: Callable[..., Any]) -> Callable[[Path], Oracle]:
    return cache(lambda folder: Oracle(peft_model, folder))


@pytest.fixture(scope="session")
def oracle(make_oracle: Callable[[Path], Oracle], tiny_base_folder: Path) -> Oracle:
    return make_oracle(tiny_base_folder)


@pytest.fixture(scope="session")
def check_greedy() -> Callable[[Sequence[int], Greedy], bool]:
    """`check(found, expected)` asserts equality and returns whether a near tie had to be excused (it is printed)."""

    def check(found: Sequence[int], expected: Greedy) -> bool:
        if tuple(found) == expected.token_ids:
            return False
        at = next(
            (at for at, pair in enumerate(zip(found, expected.token_ids, strict=False)) if pair[0] != pair[1]),
            min(len(found), len(expected.token_ids)),
        )
        gap = expected.gaps[at] if at < len(expected.gaps) else float("inf")
        message = f"token {at}: {list(found)} where the oracle has {list(expected.token_ids)}, its gap {gap:.2e}"
        assert gap < MAX_EXCUSED_GAP, message
        print(f"excused near tie, {message}")  # noqa: T201 - the design asks for every excused case to be seen
        return True

    return check


@pytest.fixture(scope="session")
def tokenizer(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base_folder)
    return loaded


@pytest.fixture(scope="session")
def prompts(tokenizer: PreTrainedTokenizerBase) -> list[tuple[int, ...]]:
    """Token ids of seven prompts, 1 to about 40 tokens."""
    return [tuple(tokenizer(text)["input_ids"]) for text in PROMPTS]


@pytest.fixture(scope="session")
def make_adapters(
    make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], list[AdapterSource]]:
    """`make(folder)`: six adapters of all kinds for a base."""

    @cache
    def make(folder: Path) -> list[AdapterSource]:
        kinds: dict[str, dict[str, Any]] = {
            "plain-2": {"rank": 2},
            "plain-16": {"rank": 16},
            "rslora": {"rank": 8, "rslora": True},
            "dora": {"rank": 4, "dora": True},
            "patterns": {"rank": 4, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"down_proj": 2}},
            "partial": {"rank": 4, "targets": ("layers.0.self_attn.q_proj", "layers.1.mlp.up_proj")},
        }
        home = tmp_path_factory.mktemp("adapters")
        return [
            AdapterSource(f"sha256:{folder.name}-{name}", make_adapter(home / name, seed=seed, base=folder, **settings))
            for seed, (name, settings) in enumerate(kinds.items())
        ]

    return make


@pytest.fixture(scope="session")
def adapters(make_adapters: Callable[[Path], list[AdapterSource]], tiny_base_folder: Path) -> list[AdapterSource]:
    return make_adapters(tiny_base_folder)


@pytest.fixture
def start_engine(tiny_base_folder: Path) -> Iterator[Callable[..., Engine]]:
    """`start(folder=…, quantization=…, **config)`; every engine is checked and closed at the end."""
    started: list[Engine] = []

    def start(folder: Path | None = None, quantization: Any = "none", **config: Any) -> Engine:
        source = BaseSource("tiny", folder or tiny_base_folder)
        base = load(source, LoadOptions(device="cpu", quantization=quantization))
        started.append(Engine(base, EngineConfig(**config), EngineMetrics("tiny")))
        return started[-1]

    yield start
    for engine in started:
        engine.close()
        engine._residency.check_integrity()


@pytest.fixture
def engine(start_engine: Callable[..., Engine]) -> Engine:
    return start_engine()


@pytest.fixture(scope="session")
def make_request() -> Callable[..., GenerationRequest]:
    """`request(prompt_ids, adapter=None, stop_ids=(), max_tokens=12, **sampling)`"""

    def make(
        prompt_ids: Sequence[int], adapter: AdapterSource | None = None, stop_ids: Sequence[int] = (), **sampling: Any
    ) -> GenerationRequest:
        params = SamplingParams(**{"max_tokens": 12, **sampling})
        return GenerationRequest(
            prompt_ids=tuple(prompt_ids), params=params, stop_ids=frozenset(stop_ids), adapter=adapter
        )

    return make


@pytest.fixture(scope="session")
def submit_together() -> Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]]:
    """Submits so that the engine finds all of them waiting, their adapters in memory: one batch if it takes so many."""

    def submit(engine: Engine, requests: Sequence[GenerationRequest]) -> list[TokenStream]:
        for adapter in {request.adapter for request in requests} - {None}:
            params = SamplingParams(max_tokens=1)
            warm = GenerationRequest(prompt_ids=(5,), params=params, stop_ids=frozenset(), adapter=adapter)
            engine.submit(warm).answer()
        with engine._changed:
            return [engine.submit(request) for request in requests]

    return submit


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the generation batches that ran."""
    sizes: list[int] = []

    class Counted(GenerationBatch):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            sizes.append(len(arguments[3]))

    monkeypatch.setattr("service.engine.engine.GenerationBatch", Counted)
    return sizes
