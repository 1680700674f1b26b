"""64 concurrent requests for the base and seven adapters, over HTTP, against plain PEFT run one by one."""

import asyncio
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.publication import Submission, publish
from adapters.registry import Registry
from service.api.app import open_inference
from service.api.process.server import Server
from service.inference.inference import Inference
from service.settings import Settings

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"rank": 4},
    "wide": {"rank": 16},
    "narrow": {"rank": 2, "targets": ("q_proj", "down_proj")},
    "rslora": {"rank": 8, "rslora": True},
    "dora": {"rank": 4, "dora": True},
    "patterned": {"rank": 4, "rank_pattern": {"o_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    "other": {"rank": 4},
}
NUM_REQUESTS = 64
NEW_TOKENS = 12
TIE_LOGITS = 1e-3
"""A difference is excused only where the oracle's two best logits are closer than this."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    model: str
    prompt_ids: tuple[int, ...]


@pytest.fixture(scope="module")
def folders(make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    return {name: make_adapter(root / name, seed=seed, **kind) for seed, (name, kind) in enumerate(KINDS.items())}


@pytest.fixture(scope="module")
def url(folders: dict[str, Path], tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Fewer places than adapters: loading and evicting go on while requests run.
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        base_model=str(tiny_base_folder),
        port=0,
        max_loras=3,
        max_num_seqs=8,
        kv_cache_memory_bytes=4 << 20,
    )

    def with_adapters(registry: Registry, settings: Settings) -> Inference:
        inference = open_inference(registry, settings)
        for name, folder in folders.items():
            publish(registry, Submission(tenant="default", name=name, folder=folder, source="test"), inference.facts)
        return inference

    ready = threading.Event()
    server = Server(settings, on_ready=lambda _url: ready.set(), open_inference=with_adapters)
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    assert ready.wait(60)
    yield server.url
    server.stop()
    thread.join()


def requests(vocabulary: int) -> list[Asked]:
    chance = random.Random(7)
    models = ["tiny", *KINDS]
    return [
        Asked(models[n % len(models)], tuple(chance.randrange(4, vocabulary) for _ in range(chance.randrange(1, 40))))
        for n in range(NUM_REQUESTS)
    ]


async def answers(url: str, asked: list[Asked]) -> list[str]:
    """All at once."""
    limits = httpx.Limits(max_connections=NUM_REQUESTS)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        responses = await asyncio.gather(*(client.post("/v1/completions", json=body(each)) for each in asked))
    return [response.raise_for_status().json()["choices"][0]["text"] for response in responses]


def body(asked: Asked) -> dict[str, Any]:
    return {
        "model": asked.model, "prompt": list(asked.prompt_ids), "max_tokens": NEW_TOKENS, "temperature": 0,
        "ignore_eos": True,
    }  # fmt: skip


class Oracle:
    """Plain PEFT, one prompt at a time, with no cache."""

    def __init__(self, base: Path, folders: dict[str, Path]) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        with warnings.catch_warnings():
            # PEFT 0.21 uses what torch 2.13 and transformers 5 deprecate.
            warnings.simplefilter("ignore")
            from peft import PeftModel

            self.models: dict[str, Any] = {"tiny": AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)}
            for name, folder in folders.items():
                fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
                self.models[name] = PeftModel.from_pretrained(fresh, str(folder)).eval()

    @torch.no_grad()
    def answer(self, asked: Asked) -> tuple[str, float]:
        """The greedy text, and the smallest gap between the two best logits on the way."""
        ids, gap = list(asked.prompt_ids), float("inf")
        for _ in range(NEW_TOKENS):
            top = self.models[asked.model](input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
            gap = min(gap, float(top.values[0] - top.values[1]))
            ids.append(int(top.indices[0]))
        return str(self.tokenizer.decode(ids[len(asked.prompt_ids) :], skip_special_tokens=True)), gap


def test_concurrent_mixed_requests_answer_as_plain_peft_does_alone(
    url: str, folders: dict[str, Path], tiny_base_folder: Path
) -> None:
    oracle = Oracle(tiny_base_folder, folders)
    asked = requests(len(oracle.tokenizer))
    got = asyncio.run(answers(url, asked))
    excused = []
    for each, text in zip(asked, got, strict=True):
        wanted, gap = oracle.answer(each)
        if text != wanted and gap < TIE_LOGITS:
            excused.append(f"{each.model}: {text!r} for {wanted!r}, gap {gap:.1e}")
        else:
            assert text == wanted, each.model
    assert not excused, excused
    assert len(set(got)) > len(KINDS)
