"""Tokens a second of a batch of concurrent requests, side by side."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from peers.contention import Contention
from peers.prompts import asks
from peers.report import Report, Table, spread
from peers.side import MODES, Batch, Side

OURS = "lorad-"
OFF = "-off"
PEERS = ("vllm", "llama.cpp")
"""The continuous batching servers; PEFT's static batch is shown and not compared with."""

_ATTEMPTS = 4
_DISTURBED_SHARE = 0.05
_PAUSE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Load:
    """What every side is asked."""

    rounds: int
    num_requests: int = 16
    new_tokens: int = 32


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One batch."""

    side: str
    mode: str
    turn: int
    tokens_per_second: float
    others_share: float
    """Of the CPUs, meanwhile."""
    attempt: int


async def measure(sides: Sequence[Side], load: Load, say: Callable[[str], None]) -> Report:
    """Warms up every side, then measures them in turn; all are frozen before and after.

    Args:
        sides: started and frozen.
        load: what they are asked.
        say: told each figure as it comes.
    """
    samples: list[Sample] = []
    for turn in range(load.rounds + 1):
        for side in sides:
            side.child.thaw()
            # To and fro, so that what drifts within a turn favours no mode.
            for mode in side.modes if turn % 2 else side.modes[::-1]:
                samples += await _undisturbed(_Cell(side, mode, turn, load), say)
            side.child.freeze()
    return _report(sides, samples, load)


@dataclass(frozen=True)
class _Cell:
    """What is measured next."""

    side: Side
    mode: str
    turn: int
    load: Load


async def _undisturbed(cell: _Cell, say: Callable[[str], None]) -> list[Sample]:
    """A batch that had the machine to itself, or the least disturbed of a few; none in the round that warms up."""
    tries: list[Sample] = []
    while not tries or (cell.turn and tries[-1].others_share > _DISTURBED_SHARE and len(tries) < _ATTEMPTS):
        if tries:
            await asyncio.sleep(_PAUSE_SECONDS)
        tries.append(await _sample(cell, len(tries)))
        say(_line(tries[-1]))
    return [min(tries, key=lambda sample: sample.others_share)] if cell.turn else []


async def _sample(cell: _Cell, attempt: int) -> Sample:
    load, contention = cell.load, Contention(cell.side.child)
    # Prompts of their own for each attempt as well: none may be found in a cache.
    batch = asks(cell.mode, cell.turn * _ATTEMPTS + attempt, load.num_requests)
    seconds = await cell.side.answer(Batch(batch, load.new_tokens))
    return Sample(
        side=cell.side.name,
        mode=cell.mode,
        turn=cell.turn,
        tokens_per_second=load.num_requests * load.new_tokens / seconds,
        others_share=contention.share(),
        attempt=attempt,
    )


def _line(sample: Sample) -> str:
    speed = f"{sample.side} {sample.mode}: {sample.tokens_per_second:.1f} tok/s"
    return f"{f'round {sample.turn}' if sample.turn else 'warm-up'} {speed}, others {sample.others_share:.0%}"


def _report(sides: Sequence[Side], samples: Sequence[Sample], load: Load) -> Report:
    title = f"Throughput: {load.num_requests} requests at once, {load.new_tokens} new tokens each"
    rates = {(sample.side, sample.mode, sample.turn): sample.tokens_per_second for sample in samples}
    names = [side.name for side in sides]
    speeds = [[name, *[_shown(_series(rates, name, mode)) for mode in MODES]] for name in names]
    busy = [sample.others_share * 100 for sample in samples]
    tables = [
        Table(["tok/s: median (range)", "base only", "one adapter", "8 adapters mixed"], speeds),
        Table(["ratio: median (range) over rounds", "measured", "to reach"], list(_ratios(rates, names))),
        Table(["CPU that others took", "median (range)"], [["% of all", spread(busy, "{:.0f}")]]),
    ]
    return Report(title, tables, {"load": asdict(load), "samples": [asdict(sample) for sample in samples]})


Rates = dict[tuple[str, str, int], float]
"""By side, mode and turn."""


def _series(rates: Rates, name: str, mode: str) -> dict[int, float]:
    return {turn: rate for (side, of_mode, turn), rate in rates.items() if (side, of_mode) == (name, mode)}


def _shown(series: dict[int, float]) -> str:
    return spread(list(series.values())) if series else ""


def _ratios(rates: Rates, names: Sequence[str]) -> Iterator[list[str]]:
    """Within each round, because the machine's speed drifts from one to the next."""
    for name in names:
        if not name.startswith(OURS) or name.endswith(OFF):
            continue
        base, single, mixed = (_series(rates, name, mode) for mode in MODES)
        bars = {"fp32": ("1.5", "2.5"), "int8": ("2.5 (4)", "3.5 (5)")}.get(name.removeprefix(OURS), ("", ""))
        yield [f"{name}: base / better peer", _ratio(base, _best_peer(rates, "base")), bars[0]]
        yield [f"{name}: mixed / better peer", _ratio(mixed, _best_peer(rates, "mixed")), bars[1]]
        yield [f"{name}: mixed / one adapter", _ratio(mixed, single), "0.95"]
        yield [f"{name}: one adapter / base", _ratio(single, base), "0.80"]
        yield [f"{name}: base / base with LoRA off", _ratio(base, _series(rates, name + OFF, "base")), "0.98"]


def _best_peer(rates: Rates, mode: str) -> dict[int, float]:
    series = [_series(rates, peer, mode) for peer in PEERS]
    turns = {turn for rates_by_turn in series for turn in rates_by_turn}
    return {turn: max(each[turn] for each in series if turn in each) for turn in turns}


def _ratio(ours: dict[int, float], theirs: dict[int, float]) -> str:
    shared = [ours[turn] / theirs[turn] for turn in ours if turn in theirs]
    return spread(shared, "{:.2f}") if shared else "not measured"
