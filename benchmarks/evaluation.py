"""Base and adapters on a benchmark: one `lorad benchmark` beside one run of the harness's `hf` backend for each model.

`python benchmarks/evaluation.py --base BASE --adapters DIR --data DATA [--task NAME] [--limit N] [--rounds N]`

DIR holds PEFT folders, DATA a folder of JSONL files for the benchmark. Both sides ask the same rows in float32 on all
cores; they take turns, and the ratio is taken within a round. Loading the models is left out on both sides (nine times
on the harness's). Answers must agree: every metric, every choice's log-likelihood and every text is compared. Progress
goes to stderr, Markdown to stdout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_LORAD = Path(sys.executable).with_name("lorad")
TOLERANCE_NATS = 5e-3
"""Between two ways to sum float32 numbers, over the tokens of a choice."""
TOLERANCE_METRIC = 1e-4
"""mc2 is a mean of probabilities; all others are counts, which must be equal."""

Responses = dict[str, list[Any]]
"""By subtask, question and filter: of each choice the log-likelihood and whether it is greedy, or the answer's text."""


@dataclass(frozen=True)
class Side:
    """What one side found in one round."""

    seconds: float
    metrics: Mapping[str, Mapping[str, float]]
    """By model; the whole task's."""
    responses: Mapping[str, Responses]


def main() -> None:
    """Measures round by round and prints the table."""
    options = _parser().parse_args()
    adapters = sorted(path for path in options.adapters.iterdir() if (path / "adapter_config.json").is_file())
    adapters = adapters[: options.num_adapters]
    with tempfile.TemporaryDirectory(prefix="lorad-benchmark-") as folder:
        home = options.home or Path(folder)
        if not home.exists() or home == Path(folder):
            for adapter in adapters:
                _run([_LORAD, "adapters", "import", adapter, "--name", adapter.name], _environment(options, home))
        rounds = []
        for number in range(options.rounds):
            ours = measure_lorad(options, home, adapters)
            _say(f"round {number + 1}: lorad {ours.seconds:.1f} s")
            theirs = measure_harness(options, home, adapters)
            _say(f"round {number + 1}: harness {theirs.seconds:.1f} s, {theirs.seconds / ours.seconds:.2f} times")
            rounds.append((ours, theirs))
    print(_markdown(options, rounds))


def measure_lorad(options: argparse.Namespace, home: Path, adapters: Sequence[Path]) -> Side:
    """One command for all models."""
    models = [flag for name in ("base", *(path.name for path in adapters)) for flag in ("--model", name)]
    command = [_LORAD, "benchmark", options.task, *models, "--data", options.data, "--limit", options.limit]
    flags = ["--dtype", "float32", "--write-tasks", home / "tasks", "--questions", "--json"]
    results = json.loads(_run([*command, *flags], _environment(options, home)))
    names = ["base", *(path.name for path in adapters)]
    tasks = {name: result["tasks"] for name, result in zip(names, results, strict=True)}
    return Side(
        seconds=results[0]["seconds"],
        metrics={name: _of_task(options.task, found)["metrics"] for name, found in tasks.items()},
        responses={name: _responses(found) for name, found in tasks.items()},
    )


def _of_task(name: str, tasks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of a group, the whole rather than one of its tasks."""
    return next(task for task in tasks if task["task"] == name)


def _responses(tasks: Sequence[Mapping[str, Any]]) -> Responses:
    return {
        f"{task['task']}/{question['index']}/{question['filter']}": question["responses"]
        for task in tasks
        for question in task["questions"]
    }


def measure_harness(options: argparse.Namespace, home: Path, adapters: Sequence[Path]) -> Side:
    """One model after another, in one process."""
    arguments = [options.base, home / "tasks", options.task, options.limit, options.batch_size, "-", *adapters]
    environment = {**_environment(options, home), "PYTHONPATH": str(_HERE)}
    text = _run([sys.executable, "-m", "peers.harness_worker", *arguments], environment)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return Side(
        seconds=sum(line["seconds"] for line in lines),
        metrics={line["model"]: line["metrics"] for line in lines},
        responses={line["model"]: line["responses"] for line in lines},
    )


def _markdown(options: argparse.Namespace, rounds: Sequence[tuple[Side, Side]]) -> str:
    ratios = [theirs.seconds / ours.seconds for ours, theirs in rounds]
    ours, theirs = rounds[0]
    lines = [
        f"{options.task}, {len(ours.responses['base'])} questions, {len(ours.metrics)} models, {os.cpu_count()} cores, "
        f"{datetime.now(UTC).date()}, hf batches of {options.batch_size}",
        "",
        "| side | seconds |",
        "| --- | ---: |",
        f"| lorad, one run | {_spread([side.seconds for side, _ in rounds])} |",
        f"| harness, {len(theirs.metrics)} runs | {_spread([side.seconds for _, side in rounds])} |",
        f"| ratio | {_spread(ratios, 2)} |",
        "",
        "| model | lorad | harness | largest difference of a choice (nats) |",
        "| --- | --- | --- | ---: |",
    ]
    for name, metrics in ours.metrics.items():
        largest = _largest_difference(ours.responses[name], theirs.responses[name])
        lines.append(f"| {name} | {_shown(metrics)} | {_shown(theirs.metrics[name])} | {largest:.1e} |")
        if largest > TOLERANCE_NATS or not _alike(metrics, theirs.metrics[name]):
            raise SystemExit(f"{name}: the sides do not agree\n" + "\n".join(lines))
    return "\n".join(lines)


def _shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _alike(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    return ours.keys() == theirs.keys() and all(
        abs(value - theirs[name]) <= TOLERANCE_METRIC for name, value in ours.items()
    )


def _largest_difference(ours: Responses, theirs: Responses) -> float:
    """Infinite where a text or a greedy flag differs."""
    assert ours.keys() == theirs.keys(), "the sides were asked other questions"
    return max(_difference(one, other) for key in ours for one, other in zip(ours[key], theirs[key], strict=True))


def _difference(ours: Any, theirs: Any) -> float:
    if isinstance(ours, str):
        return 0.0 if ours == theirs else float("inf")
    return abs(float(ours[0]) - float(theirs[0])) if bool(ours[1]) == bool(theirs[1]) else float("inf")


def _spread(values: Sequence[float], digits: int = 1) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _environment(options: argparse.Namespace, home: Path) -> dict[str, str]:
    own = {"LORAD_HOME": str(home), "LORAD_BASE_MODEL": str(options.base), "LORAD_QUANTIZATION": "none"}
    return {**os.environ, **own, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(os.cpu_count())}


def _run(command: Sequence[Any], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=dict(environment), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {done.returncode}")
    return done.stdout


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--adapters", type=Path, required=True, help="folder of PEFT folders")
    parser.add_argument("--home", type=Path, help="LORAD_HOME that is kept; one that is there has the adapters already")
    parser.add_argument("--num-adapters", type=int, default=8)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="arc_easy", help="as `lorad benchmark` names it")
    parser.add_argument("--limit", type=int, default=500, help="questions of each subtask, from the first on")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8, help="of the hf backend")
    return parser


if __name__ == "__main__":
    main()
