"""Tokens a second of a batch of concurrent requests, side by side."""

import statistics
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
                sample = await _sample(side, mode, turn, load)
                say(f"{'warm-up' if turn == 0 else f'round {turn}'} {_line(sample)}")
                samples += [sample] if turn else []
            side.child.freeze()
    return _report(sides, samples, load)


async def _sample(side: Side, mode: str, turn: int, load: Load) -> Sample:
    contention = Contention(side.child)
    seconds = await side.answer(Batch(asks(mode, turn, load.num_requests), load.new_tokens))
    rate = load.num_requests * load.new_tokens / seconds
    return Sample(side=side.name, mode=mode, turn=turn, tokens_per_second=rate, others_share=contention.share())


def _line(sample: Sample) -> str:
    return f"{sample.side} {sample.mode}: {sample.tokens_per_second:.1f} tok/s, others {sample.others_share:.0%}"


def _report(sides: Sequence[Side], samples: Sequence[Sample], load: Load) -> Report:
    title = f"Throughput: {load.num_requests} requests at once, {load.new_tokens} new tokens each"
    rates = {(sample.side, sample.mode, sample.turn): sample.tokens_per_second for sample in samples}
    names = [side.name for side in sides]
    speeds = [[name, *[_cell(_series(rates, name, mode)) for mode in MODES]] for name in names]
    busy = statistics.median(sample.others_share for sample in samples)
    tables = [
        Table(["tok/s: median (range)", "base only", "one adapter", "8 adapters mixed"], speeds),
        Table(["ratio: median (range) over rounds", "measured", "to reach"], list(_ratios(rates, names))),
        Table(["CPU that others took", "median"], [["of all", f"{busy:.0%}"]]),
    ]
    return Report(title, tables, {"load": asdict(load), "samples": [asdict(sample) for sample in samples]})


Rates = dict[tuple[str, str, int], float]
"""By side, mode and turn."""


def _series(rates: Rates, name: str, mode: str) -> dict[int, float]:
    return {turn: rate for (side, of_mode, turn), rate in rates.items() if (side, of_mode) == (name, mode)}


def _cell(series: dict[int, float]) -> str:
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
