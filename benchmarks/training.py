"""How fast lorad trains, beside TRL's SFTTrainer: `benchmarks/training.py --help`.

All sides get the same token rows, base, adapter and hyperparameters, each in a process of its own, in turn within a
round; ratios are taken within a round. lorad and TRL padded take the same rows in each step, TRL packed takes a pack.
Every adapter is scored on the same held-out rows by the same code, and the bare matrix products of the run's shapes are
timed in the same round. Progress goes to stderr, Markdown to stdout.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import psutil
from matplotlib import pyplot
from peers.trainers import Side, encode, lorad_side, own_work, run_worker, trl_side


def main() -> None:
    """Runs the rounds and prints what they found."""
    options = _parser().parse_args()
    sides = []
    for kind, layout, quantization in (
        ("", "packed", "none"),
        (", padded", "padded", "none"),
        (", nf4", "packed", "nf4"),
    ):
        sides.append(lorad_side(f"lorad{kind}", layout, quantization))
        if options.trl_python:
            sides.append(trl_side(f"TRL{kind}", layout, options.trl_python, quantization))
    sides = [side for side in sides if not options.side or side.name in options.side]
    with tempfile.TemporaryDirectory(prefix="lorad-benchmark-") as folder:
        rounds = [_round(number, sides, options, Path(folder)) for number in range(options.rounds)]
    report = {
        "command": shlex.join(sys.argv),
        "at": datetime.now(UTC).isoformat(),
        "machine": platform.platform(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "rounds": rounds,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if options.plot:
        _draw(rounds[-1], options.plot)
    print(_markdown(rounds, [side.name for side in sides]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl and test.jsonl of GSM8K")
    parser.add_argument("--trl-python", type=Path, help="python of the environment that has TRL")
    parser.add_argument("--side", action="append", help="only these sides, by name; may be repeated")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=20, help="of train.jsonl")
    parser.add_argument("--held-out", type=int, default=16, help="rows of test.jsonl")
    parser.add_argument("--batch-size", type=int, default=5, help="rows of a step; TRL's packed steps are one pack")
    parser.add_argument("--pack-tokens", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    parser.add_argument("--plot", type=Path, help="PNG of the last round's loss curves")
    return parser


def _round(number: int, sides: Sequence[Side], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    plan = {
        "base": str(options.base),
        "batch_size": options.batch_size,
        "pack_tokens": options.pack_tokens,
        "learning_rate": options.learning_rate,
        # The two warm up differently: TRL's first step stands still.
        "warmup_ratio": 0.0,
        "rank": options.rank,
        "alpha": 2 * options.rank,
        "seed": number,
        "threads": options.threads,
        "layout": "packed",
        "quantization": "none",
        "output": str(folder / "nothing"),
    }
    rows = encode(options.base, _first(options.data / "train.jsonl", options.rows, folder), plan, folder)
    held_out = encode(options.base, _first(options.data / "test.jsonl", options.held_out, folder), plan, folder)
    plan |= {"rows": rows["rows"], "held_out": held_out["rows"], "in_order": False}
    found: dict[str, Any] = {"sides": {}, "products": own_work("products", plan, folder)}
    found["base_losses"] = {
        kind: own_work("score", {**plan, "quantization": kind}, folder)["loss"]
        for kind in dict.fromkeys(side.quantization for side in sides)
    }
    for side in sides:
        output = folder / f"{number}-{side.name.replace(', ', '-')}"
        output.mkdir()
        its = {**plan, "layout": side.layout, "quantization": side.quantization, "output": str(output)}
        if not side.is_lorad and side.layout == "padded":
            its |= {"rows": rows["in_order"], "in_order": True}
        result = run_worker(side.python, side.command, its, folder)
        result["held_out_loss"] = own_work("score", its, folder)["loss"]
        found["sides"][side.name] = result
        rate, peak = result["tokens"] / result["seconds"], result["peak_memory_bytes"] / 2**30
        _say(f"{side.name}: {rate:.1f} tok/s, held-out {result['held_out_loss']:.4f}, peak {peak:.2f} GiB")
    return found


def _first(file: Path, count: int, folder: Path) -> Path:
    target = folder / file.name
    target.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:count]), encoding="utf-8")
    return target


def _curve_difference(one: dict[str, Any], name: str, other: str) -> float:
    """Of the loss at a step, where both sides take the same rows in each; relative, the largest."""
    pairs = zip(one["sides"][name]["losses"], one["sides"][other]["losses"], strict=True)
    return max(abs(float(own) / float(their) - 1) for own, their in pairs)


def _markdown(rounds: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    bases = ", ".join(f"{loss:.4f} ({kind})" for kind, loss in rounds[0]["base_losses"].items())
    lines = ["| median (range) | tok/s | held-out loss | peak memory, GiB |", "| --- | ---: | ---: | ---: |"]
    for name in names:
        results = [one["sides"][name] for one in rounds]
        losses = _cells([result["held_out_loss"] for result in results], ".4f")
        peaks = _cells([result["peak_memory_bytes"] / 2**30 for result in results], ".2f")
        lines.append(f"| {name} | {_cells([_rate(one, name) for one in rounds], '.1f')} | {losses} | {peaks} |")
    lines += ["", f"Held-out loss of the base by quantization: {bases}.", ""]
    lines += ["| ratio within a round | median (range) |", "| --- | ---: |"]
    return "\n".join([*lines, *_shares(rounds, names), *_ratios(rounds, names)])


def _shares(rounds: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[str]:
    """How much of the bare products' rate is reached."""
    for kind, said in (("torch", "torch's"), ("onednn", "oneDNN's")):
        bare = [one["products"]["tokens"] / one["products"][kind] for one in rounds]
        yield f"| bare matrix products, {said}: tok/s | {_cells(bare, '.0f')} |"
        for name in [name for name in ("lorad", "lorad, nf4") if name in names]:
            shares = [_rate(one, name) / rate for one, rate in zip(rounds, bare, strict=True)]
            yield f"| {name} / {said} products | {_cells(shares, '.2f')} |"


def _ratios(rounds: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[str]:
    pairs = (("lorad", "TRL"), ("lorad", "TRL, padded"), ("lorad, nf4", "TRL, nf4"))
    for name, other in [pair for pair in pairs if {*pair} <= {*names}]:
        rates = [_rate(one, name) / _rate(one, other) for one in rounds]
        peaks, losses = (
            [one["sides"][name][key] / one["sides"][other][key] for one in rounds]
            for key in ("peak_memory_bytes", "held_out_loss")
        )
        yield f"| {name} / {other}: tok/s | {_cells(rates, '.2f')} |"
        yield f"| {name} / {other}: peak memory | {_cells(peaks, '.2f')} |"
        yield f"| {name} / {other}: held-out loss after the same tokens | {_cells(losses, '.3f')} |"
    if {"lorad", "TRL, padded"} <= {*names}:
        apart = [_curve_difference(one, "lorad", "TRL, padded") for one in rounds]
        yield f"| largest difference of a step's loss, lorad and TRL, padded | {_cells(apart, '.2%')} |"


def _rate(one: dict[str, Any], name: str) -> float:
    return float(one["sides"][name]["tokens"] / one["sides"][name]["seconds"])


def _cells(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _draw(one: dict[str, Any], target: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, result in one["sides"].items():
        losses = result["losses"]
        axes.plot([result["tokens"] * (at + 1) / len(losses) for at in range(len(losses))], losses, label=name)
    axes.set_xlabel("tokens trained on")
    axes.set_ylabel("loss of the step, nats a labelled token")
    axes.legend()
    figure.savefig(target, dpi=120, bbox_inches="tight")


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
