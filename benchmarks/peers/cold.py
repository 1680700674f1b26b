"""What the first request for an adapter waits for, and what running streams notice of loads."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import httpx
from peers.contention import Contention
from peers.lorad import Lorad
from peers.prompts import adapter_of, stories
from peers.registry import Registry
from peers.report import Report, Table, milliseconds, quantile, spread
from peers.side import Ask
from peers.streams import Streams

FIRST_TOKEN_TO_REACH = "≤ 300 ms"
GAP_TO_REACH = "≤ 1.20"

_SETTLED_TOKENS = 8
_STREAM_TOKENS = 3000
_POKE_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Cold:
    """What is asked."""

    rounds: int
    seconds: float
    """Of streams with loads, and of streams without, in each round."""
    pairs: int = 10
    """Cold and warm first tokens a round, the server idle otherwise."""
    num_streams: int = 12
    poke_seconds: float = 0.5
    """Between two short requests beside the streams."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """First tokens of one adapter, in seconds."""

    cold: float
    warm: float


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Of all streams, in one phase."""

    phase: str
    turn: int
    seconds: Sequence[float]
    num_pokes: int
    others_share: float


async def measure(server: Lorad, registry: Registry, plan: Cold, say: Callable[[str], None]) -> Report:
    """Pairs on the idle server first, then streams with short requests of resident and of cold adapters in turn."""
    cold, prompts = registry.coldest(), stories()
    warm = itertools.cycle([f"a{index}" for index in range(8)])
    pairs, phases = list[Pair](), list[Gaps]()
    async with server.client() as client:
        for name in itertools.islice(warm, 8):
            await server.first_token_seconds(client, Ask(next(prompts), name), _POKE_TOKENS)
        for _ in range(plan.rounds * plan.pairs):
            pairs.append(await _pair(server, client, prompts, next(cold)))
        say(f"{server.name}: {len(pairs)} first tokens, cold and warm")
        for turn in range(plan.rounds + 1):
            for phase, names in (("resident", warm), ("loading", cold)):
                gaps = await _phase(server, client, plan, _Pokes(phase, turn, names, prompts))
                say(f"{server.name} {phase}: p99 gap {milliseconds(quantile(gaps.seconds, 0.99))}")
                phases += [gaps] if turn else []
    return _report(server, plan, pairs, phases)


async def _pair(server: Lorad, client: httpx.AsyncClient, prompts: Iterator[str], name: str) -> Pair:
    cold, warm = [
        await server.first_token_seconds(client, Ask(next(prompts), name), _POKE_TOKENS) for _ in ("cold", "warm")
    ]
    return Pair(cold=cold, warm=warm)


@dataclass(frozen=True)
class _Pokes:
    """The short requests of a phase."""

    phase: str
    turn: int
    names: Iterator[str]
    prompts: Iterator[str]


async def _phase(server: Lorad, client: httpx.AsyncClient, plan: Cold, pokes: _Pokes) -> Gaps:
    asks = [Ask(next(pokes.prompts), adapter_of("mixed", index)) for index in range(plan.num_streams)]
    async with Streams(server, client, asks, _STREAM_TOKENS) as streams:
        await streams.reach(_SETTLED_TOKENS)
        contention, start = Contention(server.child), time.perf_counter()
        num_pokes = int(plan.seconds / plan.poke_seconds)
        async with asyncio.TaskGroup() as group:
            for index in range(num_pokes):
                await asyncio.sleep(max(start + index * plan.poke_seconds - time.perf_counter(), 0))
                group.create_task(server.complete(client, next(pokes.prompts), next(pokes.names), _POKE_TOKENS))
        end, others = time.perf_counter(), contention.share()
        streams.check()
    gaps = streams.gaps(start, end)
    return Gaps(phase=pokes.phase, turn=pokes.turn, seconds=gaps, num_pokes=num_pokes, others_share=others)


def _report(server: Lorad, plan: Cold, pairs: Sequence[Pair], phases: Sequence[Gaps]) -> Report:
    more = [pair.cold - pair.warm for pair in pairs]
    first = Table(
        [f"{server.name}: first token, {len(pairs)} adapters", "median", "p90", "to reach"],
        [
            _row("cold: never loaded, not in the page cache", [pair.cold for pair in pairs]),
            _row("warm: the same adapter, asked again", [pair.warm for pair in pairs]),
            [*_row("cold over warm", more)[:-1], FIRST_TOKEN_TO_REACH],
        ],
    )
    data = {
        "plan": asdict(plan),
        "side": server.name,
        "pairs": [asdict(pair) for pair in pairs],
        "phases": [asdict(phase) for phase in phases],
    }
    return Report(f"Cold adapters, {server.name}", [first, _gap_table(server, plan, phases)], data)


def _row(label: str, seconds: Sequence[float]) -> list[str]:
    return [label, milliseconds(statistics.median(seconds)), milliseconds(quantile(seconds, 0.9)), ""]


def _gap_table(server: Lorad, plan: Cold, phases: Sequence[Gaps]) -> Table:
    p99 = {(phase.phase, phase.turn): quantile(phase.seconds, 0.99) * 1000 for phase in phases}
    quiet, loading = (
        [value for (phase, _), value in p99.items() if phase == wanted] for wanted in ("resident", "loading")
    )
    ratios = [ours / theirs for ours, theirs in zip(loading, quiet, strict=True)]
    rows = [
        ["short requests of resident adapters: p99, ms", spread(quiet), ""],
        ["short requests of cold adapters: p99, ms", spread(loading), ""],
        ["ratio", spread(ratios, "{:.2f}"), GAP_TO_REACH],
        ["CPU that others took, % of all", spread([phase.others_share * 100 for phase in phases], "{:.0f}"), ""],
    ]
    heading = f"{server.name}: time between tokens of {plan.num_streams} streams, 1 load in {plan.poke_seconds:g} s"
    return Table([heading, "median (range) over rounds", "to reach"], rows)
