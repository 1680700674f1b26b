"""What running streams notice of a long prompt that arrives beside them.

The streams are of eight adapters, and of the base only where a server cannot mix adapters in a batch.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from peers.contention import Contention
from peers.prompts import adapter_of, long_prompt, stories
from peers.report import Report, Table, milliseconds, quantile, spread
from peers.side import Ask, HttpServer
from peers.streams import Streams

TO_REACH = "≤ 3"

_SETTLED_TOKENS = 8
_STREAM_TOKENS = 1500
_LATE_SECONDS = 2.0
"""Streams go on for so long after the long prompt's first token."""


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """What is asked."""

    rounds: int
    prompt_tokens: int = 4096
    num_streams: int = 15
    quiet_seconds: float = 5.0
    """Before the prompt arrives."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One long prompt; gaps in seconds, of all streams."""

    first_token_seconds: float
    before: Sequence[float]
    """Gaps until the prompt arrives."""
    during: Sequence[float]
    """Gaps from then until its first token."""
    others_share: float

    @property
    def during_ratio(self) -> float:
        """p99 over median, both while the prompt is computed."""
        return quantile(self.during, 0.99) / statistics.median(self.during)

    @property
    def against_before(self) -> float:
        """p99 while the prompt is computed over the median before it."""
        return quantile(self.during, 0.99) / statistics.median(self.before)


async def measure(servers: Sequence[HttpServer], plan: Prefill, say: Callable[[str], None]) -> Report:
    """Measures the servers in turn; all are frozen before and after."""
    samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
    for turn in range(plan.rounds + 1):
        for server in servers:
            server.child.thaw()
            sample = await _sample(server, plan, turn)
            server.child.freeze()
            say(f"{server.name}: first token {sample.first_token_seconds:.1f} s, ratio {sample.during_ratio:.2f}")
            samples[server.name] += [sample] if turn else []
    data = {"plan": asdict(plan), "samples": {name: [asdict(s) for s in own] for name, own in samples.items()}}
    return Report(f"A prompt of {plan.prompt_tokens} tokens beside {plan.num_streams} streams", [_table(samples)], data)


async def _sample(server: HttpServer, plan: Prefill, turn: int) -> Sample:
    prompts, mode = stories(), "mixed" if server.mixes else "base"
    asks = [Ask(next(prompts), adapter_of(mode, index)) for index in range(plan.num_streams)]
    async with server.client() as client, Streams(server, client, asks, _STREAM_TOKENS) as streams:
        await streams.reach(_SETTLED_TOKENS)
        quiet = time.perf_counter()
        await asyncio.sleep(plan.quiet_seconds)
        contention, arrival = Contention(server.child), time.perf_counter()
        ask = Ask(long_prompt(plan.prompt_tokens, seed=turn))
        seconds = await server.first_token_seconds(client, ask, _SETTLED_TOKENS)
        others = contention.share()
        await asyncio.sleep(_LATE_SECONDS)
        streams.check()
    return Sample(
        first_token_seconds=seconds,
        before=streams.gaps(quiet, arrival),
        during=streams.gaps(arrival, arrival + seconds),
        others_share=others,
    )


def _table(samples: dict[str, list[Sample]]) -> Table:
    headings = ["median (range)", "first token, s", "gap before", "gap during", "p99 during", "p99 / median during"]
    headings += ["p99 during / median before", "CPU that others took, %"]
    rows = [[name, *_cells(own)] for name, own in samples.items() if own]
    return Table(headings, [*rows, ["to reach", "", "", "", "", TO_REACH, "", ""]])


def _cells(samples: Sequence[Sample]) -> list[str]:
    return [
        spread([sample.first_token_seconds for sample in samples]),
        milliseconds(statistics.median(gap for sample in samples for gap in sample.before)),
        milliseconds(statistics.median(gap for sample in samples for gap in sample.during)),
        milliseconds(quantile([gap for sample in samples for gap in sample.during], 0.99)),
        spread([sample.during_ratio for sample in samples], "{:.2f}"),
        spread([sample.against_before for sample in samples], "{:.2f}"),
        spread([sample.others_share * 100 for sample in samples], "{:.0f}"),
    ]
