"""How fast lorad trains, beside TRL's SFTTrainer: `benchmarks/training.py --help`.

Both sides get the same token rows, base, adapter and hyperparameters, each in a process of its own, in turn within a
round; ratios are taken within a round. Every adapter is scored on the same held-out rows by the same code, and the bare
matrix products of the run's shapes are timed in between. Progress goes to stderr, Markdown to stdout.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import psutil
from matplotlib import pyplot

from base.loader import load_tokenizer
from base.rendering import create_renderer
from base.source import BaseSource

_PEERS = Path(__file__).parent / "peers"
_REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Side:
    """One trainer in one layout."""

    name: str
    layout: str
    python: Path
    command: tuple[str, ...]


def main() -> None:
    """Runs the rounds and prints what they found."""
    options = _parser().parse_args()
    ours = (str(_PEERS / "training_worker.py"), "train")
    sides = [
        Side("lorad", "packed", Path(sys.executable), ours),
        Side("lorad, padded", "padded", Path(sys.executable), ours),
    ]
    if options.trl_python:
        theirs = (str(_PEERS / "trl_worker.py"),)
        sides += [
            Side("TRL", "packed", options.trl_python, theirs),
            Side("TRL, padded", "padded", options.trl_python, theirs),
        ]
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
    parser.add_argument("--quantization", choices=["none", "nf4"], default="none", help="of both sides")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=64, help="of train.jsonl")
    parser.add_argument("--held-out", type=int, default=32, help="rows of test.jsonl")
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a step; TRL's packed steps are one pack")
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
        "rows": str(_tokens(options, "train", options.rows, folder)),
        "held_out": str(_tokens(options, "test", options.held_out, folder)),
        "quantization": options.quantization,
        "layout": "packed",
        "batch_size": options.batch_size,
        "pack_tokens": options.pack_tokens,
        "learning_rate": options.learning_rate,
        "warmup_ratio": 0.05,
        "rank": options.rank,
        "alpha": 2 * options.rank,
        "seed": number,
        "threads": options.threads,
        "output": str(folder / "nothing"),
    }
    own = (str(_PEERS / "training_worker.py"),)
    found: dict[str, Any] = {"sides": {}}
    found["base_loss"] = _run(Path(sys.executable), (*own, "score"), plan, folder)["loss"]
    found["products"] = _run(Path(sys.executable), (*own, "products"), plan, folder)
    for side in sides:
        output = folder / f"{number}-{side.name.replace(', ', '-')}"
        output.mkdir()
        its = {**plan, "layout": side.layout, "output": str(output)}
        result = _run(side.python, side.command, its, folder)
        result["held_out_loss"] = _run(Path(sys.executable), (*own, "score"), its, folder)["loss"]
        found["sides"][side.name] = result
        rate, peak = result["tokens"] / result["seconds"], result["peak_memory_bytes"] / 2**30
        _say(f"{side.name}: {rate:.1f} tok/s, held-out {result['held_out_loss']:.4f}, peak {peak:.2f} GiB")
    return found


def _tokens(options: argparse.Namespace, split: str, most: int, folder: Path) -> Path:
    """Rows as [ids, labelled], rendered once for all sides."""
    target = folder / f"{split}.json"
    renderer = create_renderer(load_tokenizer(BaseSource("base", options.base)))
    lines = (options.data / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:most]
    examples = []
    for row in map(json.loads, lines):
        messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
        example = renderer.conversation(messages)
        examples.append([example.input_ids, example.labelled])
    target.write_text(json.dumps(examples))
    return target


def _run(python: Path, command: Sequence[str], plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    given, result = folder / "plan.json", folder / "result.json"
    given.write_text(json.dumps(plan))
    environment = {**os.environ, "OMP_NUM_THREADS": str(plan["threads"])}
    environment["PYTHONPATH"] = str(_REPOSITORY) if str(python) == sys.executable else ""
    log = folder / "log"
    with log.open("w") as stream:
        done = subprocess.run(
            # -P: `peers` beside the worker has modules by the names of what it measures.
            [str(python), "-P", *command, str(given), str(result)],
            env=environment,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{log.read_text()[-3000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _markdown(rounds: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    def rate(one: dict[str, Any], name: str) -> float:
        return float(one["sides"][name]["tokens"] / one["sides"][name]["seconds"])

    def cells(values: Sequence[float], form: str) -> str:
        return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    lines = ["| median (range) | tok/s | held-out loss | peak memory, GiB |", "| --- | ---: | ---: | ---: |"]
    for name in names:
        results = [one["sides"][name] for one in rounds]
        losses = [result["held_out_loss"] for result in results]
        peaks = [result["peak_memory_bytes"] / 2**30 for result in results]
        lines.append(
            f"| {name} | {cells([rate(one, name) for one in rounds], '.1f')} | {cells(losses, '.4f')} "
            f"| {cells(peaks, '.2f')} |"
        )
    lines += ["", f"Held-out loss of the base: {rounds[0]['base_loss']:.4f}.", ""]
    lines += ["| ratio within a round | median (range) |", "| --- | ---: |"]
    for kind, said in (("torch", "torch's"), ("onednn", "oneDNN's")):
        bare = [one["products"]["tokens"] / one["products"][kind] for one in rounds]
        lines.append(f"| bare matrix products, {said}: tok/s | {cells(bare, '.0f')} |")
        if "lorad" in names:
            shares = [rate(one, "lorad") / rows for one, rows in zip(rounds, bare, strict=True)]
            lines.append(f"| lorad / {said} products | {cells(shares, '.2f')} |")
    for other in ("TRL", "TRL, padded"):
        if "lorad" in names and other in names:
            lines.append(
                f"| lorad / {other} | {cells([rate(one, 'lorad') / rate(one, other) for one in rounds], '.2f')} |"
            )
            peaks = [
                one["sides"]["lorad"]["peak_memory_bytes"] / one["sides"][other]["peak_memory_bytes"] for one in rounds
            ]
            lines.append(f"| peak memory, lorad / {other} | {cells(peaks, '.2f')} |")
    return "\n".join(lines)


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
