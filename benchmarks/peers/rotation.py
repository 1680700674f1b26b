"""Throughput while requests rotate through many more adapters than fit, beside the same with eight resident ones."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from peers.contention import Contention
from peers.lorad import Lorad
from peers.prompts import stories
from peers.registry import Registry
from peers.report import Report, Table, spread
from peers.side import NUM_ADAPTERS

RESIDENT, ROTATION = "8 resident", "rotation"
TO_REACH = "0.85"


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What is asked."""

    rounds: int
    seconds: float
    """Of each half of a round."""
    zipf: float = 1.0
    """The adapter of rank k is asked for in proportion to 1 / k to this power."""
    num_requests: int = 16
    """At once."""
    new_tokens: int = 32
    visited: bool = False
    """Each adapter has been asked for once before anything is measured: read, and checked."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Half a round."""

    traffic: str
    turn: int
    tokens_per_second: float
    others_share: float


async def measure(server: Lorad, registry: Registry, plan: Rotation, say: Callable[[str], None]) -> Report:
    """Alternates between the two kinds of traffic; the first round only warms up, at a quarter of the time."""
    resident = [f"a{index}" for index in range(NUM_ADAPTERS)]
    kinds = {RESIDENT: _uniform(resident), ROTATION: _zipf(registry.names, plan.zipf)}
    prompts, samples = stories(), list[Sample]()
    if plan.visited:
        async with server.client() as client:
            for prompt, name in zip(prompts, registry.names, strict=False):
                await server.complete(client, prompt, name, 1)
    for turn in range(plan.rounds + 1):
        for traffic, names in kinds.items():
            seconds = plan.seconds if turn else plan.seconds / 4
            contention = Contention(server.child)
            rate = await _rate(server, plan, zip(prompts, names, strict=False), seconds)
            sample = Sample(traffic=traffic, turn=turn, tokens_per_second=rate, others_share=contention.share())
            say(f"{server.name} {traffic}: {rate:.1f} tok/s, others {sample.others_share:.0%}")
            samples += [sample] if turn else []
    return _report(server, len(registry.names), plan, samples)


async def _rate(server: Lorad, plan: Rotation, asks: Iterator[tuple[str, str]], seconds: float) -> float:
    """Tokens a second; each of the workers asks again as soon as it has its answer, until the time is up."""
    async with server.client() as client:
        start = time.perf_counter()

        async def work() -> int:
            tokens = 0
            while time.perf_counter() - start < seconds:
                prompt, name = next(asks)
                tokens += await server.complete(client, prompt, name, plan.new_tokens)
            return tokens

        tokens = sum(await asyncio.gather(*[work() for _ in range(plan.num_requests)]))
        return tokens / (time.perf_counter() - start)


def _uniform(names: Sequence[str]) -> Iterator[str]:
    generator = random.Random(0)
    while True:
        yield generator.choice(names)


def _zipf(names: Sequence[str], exponent: float) -> Iterator[str]:
    generator = random.Random(0)
    weights = [(rank + 1) ** -exponent for rank in range(len(names))]
    while True:
        yield generator.choices(names, weights)[0]


def _report(server: Lorad, num_adapters: int, plan: Rotation, samples: Sequence[Sample]) -> Report:
    resident, rotation = (
        [sample.tokens_per_second for sample in samples if sample.traffic == traffic]
        for traffic in (RESIDENT, ROTATION)
    )
    ratios = [ours / theirs for ours, theirs in zip(rotation, resident, strict=True)]
    rows = [
        ["8 resident adapters, tok/s", spread(resident), ""],
        [f"{num_adapters} adapters by zipf({plan.zipf:g}), tok/s", spread(rotation), ""],
        ["ratio", spread(ratios, "{:.2f}"), TO_REACH],
        ["CPU that others took, % of all", spread([sample.others_share * 100 for sample in samples], "{:.0f}"), ""],
    ]
    table = Table([server.name, "median (range)", "to reach"], rows)
    data = {"plan": asdict(plan), "side": server.name, "samples": [asdict(sample) for sample in samples]}
    return Report(f"Rotation, {server.name}{', each adapter asked for before' * plan.visited}", [table], data)
