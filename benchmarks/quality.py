"""How good lorad's adapters are beside TRL's: `benchmarks/quality.py --base BASE --data DIR --trl-python PYTHON`.

Both trainers learn the same token rows in the same steps with the same hyperparameters, in float32; what differs is
their code and where A begins. All adapters are scored by `lorad evaluate` on the same held-out rows. DIR has a folder
with train.jsonl and test.jsonl for each task. Every result is kept in `--output` as it is found, and what is there is
not computed again: an interrupted run goes on. Progress goes to stderr, Markdown to stdout.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers.quality_tasks import TASKS, Metric, Task
from peers.trainers import Side, encode, environment, lorad_side, run_worker, trl_side

from corpus.dataset import load
from corpus.records import Record

RANK = 16
BASE = "base"
_ONE_SIDED_95 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 9: 1.860, 10: 1.833}
"""Student's t by number of pairs."""


def main() -> None:
    """Trains and scores what is missing, seed after seed, and prints the tables."""
    options = _parser().parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sides = [lorad_side("lorad", "packed"), trl_side("TRL", "padded", options.trl_python)]
    tasks = {name: TASKS[name] for name in options.task or TASKS}
    if not options.report:
        for name in tasks:
            _once(options, name, None, 0)
        for seed in range(options.seeds):
            for name in tasks:
                for side in sides:
                    _once(options, name, side, seed)
    print(_markdown(options, tasks, [side.name for side in sides]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trl-python", type=Path, required=True, help="python of the environment that has TRL")
    parser.add_argument("--output", type=Path, default=Path("quality"), help="folder of the results")
    parser.add_argument("--seeds", type=int, choices=range(1, max(_ONE_SIDED_95) + 1), default=3)
    parser.add_argument("--task", choices=TASKS, action="append", help="only these; may be repeated")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--report", action="store_true", help="only print what is there")
    return parser


def _once(options: argparse.Namespace, name: str, side: Side | None, seed: int) -> None:
    """One adapter (without a side the base), unless its result is there."""
    target = _result(options, name, BASE if side is None else side.name, seed)
    if target.exists():
        return
    task = TASKS[name]
    with tempfile.TemporaryDirectory(prefix="lorad-quality-") as scratch:
        folder = Path(scratch)
        found = {} if side is None else _train(options, name, side, seed, folder)
        records = _sample(options.data / name / "test.jsonl", task.held_out_rows, seed=0)
        scored = _score(options, task, records, None if side is None else folder / "adapter", folder)
    references = [record.completion for record in records]
    found["metrics"] = {metric.name: metric.read(scored, references) for metric in task.metrics}
    found["texts"] = [case["text"] for case in scored["cases"]]
    # Complete or absent: an interrupted run must not take half a result for a whole one.
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    partial.replace(target)
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in found["metrics"].items())
    print(f"{datetime.now(UTC):%H:%M:%S} {target.stem}: {figures}", file=sys.stderr, flush=True)


def _result(options: argparse.Namespace, task: str, side: str, seed: int) -> Path:
    output: Path = options.output
    return output / f"{task}-{side}-{seed}.json"


def _sample(file: Path, count: int, seed: int) -> list[Record]:
    records = [record for record in load(file, skip_bad=True).records if record.completion.strip()]
    return random.Random(seed).sample(records, min(count, len(records)))


def _train(options: argparse.Namespace, name: str, side: Side, seed: int, folder: Path) -> dict[str, Any]:
    """Trains on rows that `seed` chooses; the adapter is in `folder/adapter`."""
    task = TASKS[name]
    plan = {
        "quantization": "none",
        "layout": side.layout,
        "batch_size": task.batch_size,
        "pack_tokens": task.max_length,
        "learning_rate": task.learning_rate,
        # The two warm up differently: TRL's first step stands still.
        "warmup_ratio": 0.0,
        "rank": RANK,
        "alpha": 2 * RANK,
        "seed": seed,
        "threads": options.threads,
        "output": str(folder / "adapter"),
    }
    records = _write(folder / "train.jsonl", _sample(options.data / name / "train.jsonl", task.train_rows, seed))
    rows = encode(options.base, records, plan, folder)
    in_order = not side.is_lorad
    (folder / "adapter").mkdir()
    plan |= {"base": str(options.base), "in_order": in_order, "rows": rows["in_order" if in_order else "rows"]}
    return run_worker(side.python, side.command, plan, folder)


def _write(target: Path, records: Sequence[Record]) -> Path:
    target.write_text("".join(json.dumps(dict(record.row)) + "\n" for record in records))
    return target


def _score(
    options: argparse.Namespace, task: Task, records: Sequence[Record], adapter: Path | None, folder: Path
) -> dict[str, Any]:
    held_out = _write(folder / "held_out.jsonl", records)
    home = folder / "home"
    name = BASE
    if adapter is not None:
        name = "trained"
        _lorad(options, home, "adapters", "import", str(adapter), "--name", name, "--base-model", str(options.base))
    said = _lorad(
        options, home, "evaluate", "--model", name, "--base-model", str(options.base), "--quantization", "none",
        "--data", str(held_out), "--metrics", task.asked, "--max-tokens", str(task.max_tokens), "--json",
    )  # fmt: skip
    (result,) = json.loads(said)["results"]
    scored: dict[str, Any] = result
    return scored


def _lorad(options: argparse.Namespace, home: Path, *arguments: str) -> str:
    variables = {**environment(options.threads), "LORAD_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"lorad {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _markdown(options: argparse.Namespace, tasks: dict[str, Task], sides: Sequence[str]) -> str:
    ours, theirs = sides
    lines = [f"| mean ± sd | base | {ours} | {theirs} | {ours} - {theirs} | seeds | {ours} worse beyond noise |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for name, task in tasks.items():
        base = _metrics(_result(options, name, BASE, 0))
        pairs = [[_metrics(_result(options, name, side, seed)) for side in sides] for seed in range(options.seeds)]
        whole = [(own, other) for own, other in pairs if own is not None and other is not None]
        if base is None or not whole:
            continue
        for metric in task.metrics:
            values = [(own[metric.name], other[metric.name]) for own, other in whole]
            columns = [*zip(*values, strict=True), [own - other for own, other in values]]
            cells = [_spread(column) for column in columns]
            lines.append(
                f"| {name}, {metric.name} | {base[metric.name]:.4f} | {' | '.join(cells)} | {len(values)} "
                f"| {_verdict(metric, columns[-1])} |"
            )
    return "\n".join(lines)


def _metrics(result: Path) -> dict[str, float] | None:
    if not result.exists():
        return None
    found: dict[str, float] = json.loads(result.read_text())["metrics"]
    return found


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def _verdict(metric: Metric, differences: Sequence[float]) -> str:
    """A one-sided paired t-test at 5% of lorad being worse."""
    if len(differences) == 1:
        return "one seed says nothing"
    worse = statistics.mean(differences) * (1 if metric.lower_is_better else -1)
    noise = _ONE_SIDED_95[len(differences)] * statistics.stdev(differences) / len(differences) ** 0.5
    return "yes" if worse > noise else "no"


if __name__ == "__main__":
    main()
