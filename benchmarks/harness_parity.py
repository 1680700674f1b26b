"""The stock `lm_eval` command against `lorad serve`, beside its own `hf` backend with `peft=`, question by question.

`python benchmarks/harness_parity.py --base BASE --adapters DIR --data DATA [--task NAME] [--chat] [--limit N]`

The base and each adapter of DIR are models of one server in float32. `local-completions` asks the tasks; with `--chat`,
`local-chat-completions` asks GSM8K in the chat template. Both sides read the same rows. A text or a greedy flag that
differs at all, or a log-likelihood that differs by more than rounding, ends it with status 1. `--lm-eval-python` takes
the harness of another environment for the HTTP side. Progress goes to stderr, Markdown to stdout.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers.completions import BASE_NAME
from peers.lorad import Lorad, LoradOptions
from peers.side import HttpServer

TASKS = ("arc_easy", "hellaswag", "truthfulqa_mc1", "gsm8k")
CHAT_TASKS = ("gsm8k",)
TOLERANCE_NATS = 5e-3
"""Between two ways to sum float32 numbers, over the tokens of a choice."""

Samples = Mapping[tuple[str, int, str], Mapping[str, Any]]
"""By task, question and filter."""


class Server(Lorad):
    """`lorad serve` with the adapters of a folder, under their names."""

    def __init__(self, base: Path, adapters: Sequence[Path]) -> None:
        flags = ("--dtype", "float32")
        super().__init__(LoradOptions(base=base, adapters=base, quantization="none", flags=flags))
        self._adapters = adapters

    def start(self, folder: Path) -> None:
        """See `HttpServer`."""
        HttpServer.start(self, folder)
        for adapter in self._adapters:
            self.publish(adapter.name, adapter)


def main() -> None:
    """Asks both sides model by model and prints what they differ by."""
    options = _parser().parse_args()
    tasks = options.task or list(CHAT_TASKS if options.chat else TASKS)
    adapters = sorted(path for path in options.adapters.iterdir() if (path / "adapter_config.json").is_file())
    models = [(BASE_NAME, None), *((adapter.name, adapter) for adapter in adapters[: options.num_adapters])]
    rows, differences = [], []
    with tempfile.TemporaryDirectory(prefix="lorad-benchmark-") as name:
        folder = Path(name)
        _write_tasks(options, tasks, folder)
        server = Server(options.base, [adapter for _, adapter in models if adapter is not None])
        server.start(folder)
        try:
            for model, adapter in models:
                served = _ask_server(options, server.url, model, tasks, folder)
                plain = _ask_hf(options, adapter, tasks, folder / f"hf-{model}")
                assert served.keys() == plain.keys(), f"{model}: the sides were asked other questions"
                for task in tasks:
                    found = compare(_of(served, task), _of(plain, task))
                    _say(f"{model}, {task}: {found}")
                    rows.append(f"| {model} | {task} | {len(_of(served, task))} | {found} |")
                    differences += [found] if isinstance(found, str) else []
        finally:
            server.child.stop()
    print("| model | task | answers | largest difference (nats) |\n| --- | --- | ---: | ---: |\n" + "\n".join(rows))
    if differences:
        raise SystemExit("the sides do not agree")


def compare(served: Samples, plain: Samples) -> float | str:
    """The largest difference of a log-likelihood, 0 where there are texts only; or what is not equal."""
    largest = 0.0
    for key, sample in served.items():
        for ours, theirs in zip(sample["resps"], plain[key]["resps"], strict=True):
            one, other = ours[0], theirs[0]
            if isinstance(one, str):
                if one != other:
                    return f"{key}: {one!r} is not {other!r}"
                continue
            # The harness logs them as texts.
            largest = max(largest, abs(float(one[0]) - float(other[0])))
            if largest > TOLERANCE_NATS or str(one[1]) != str(other[1]):
                return f"{key}: {one} is not {other}"
    return largest


def _write_tasks(options: argparse.Namespace, tasks: Sequence[str], folder: Path) -> None:
    """By the command, which asks the base a question of each; this script's neighbour hides the package."""
    flags = ["--data", options.data, "--limit", 1, "--write-tasks", folder / "tasks", "--base-model", options.base]
    _run([Path(sys.executable).with_name("lorad"), "benchmark", ",".join(tasks), *flags])


def _of(samples: Samples, task: str) -> Samples:
    return {key: sample for key, sample in samples.items() if key[0].startswith(task)}


def _ask_server(options: argparse.Namespace, url: str, model: str, tasks: Sequence[str], folder: Path) -> Samples:
    path = "chat/completions" if options.chat else "completions"
    arguments = {"model": model, "base_url": f"{url}/v1/{path}", "num_concurrent": 4}
    if not options.chat:
        arguments["tokenizer"] = options.base
    kind = "local-chat-completions" if options.chat else "local-completions"
    return _lm_eval(options, options.lm_eval_python, kind, arguments, tasks, folder / f"served-{model}")


def _ask_hf(options: argparse.Namespace, adapter: Path | None, tasks: Sequence[str], folder: Path) -> Samples:
    arguments = {"pretrained": options.base, "dtype": "float32"}
    if adapter is not None:
        arguments["peft"] = adapter
    return _lm_eval(options, Path(sys.executable), "hf", arguments, tasks, folder)


def _lm_eval(
    options: argparse.Namespace,
    python: Path,
    kind: str,
    arguments: Mapping[str, Any],
    tasks: Sequence[str],
    output: Path,
) -> Samples:
    command = [
        python, "-m", "lm_eval", "run", "--model", kind, "--tasks", ",".join(tasks), "--limit", options.limit,
        "--model_args", ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--include_path", output.parent / "tasks", "--log_samples", "--output_path", output,
        *(["--device", "cpu", "--batch_size", 1] if kind == "hf" else []),
        *(["--apply_chat_template"] if options.chat else []),
    ]  # fmt: skip
    _run(command)
    found = {}
    for path in output.rglob("samples_*.jsonl"):
        task = path.stem.removeprefix("samples_").rpartition("_")[0]
        for sample in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            found[task, sample["doc_id"], sample["filter"]] = sample
    return found


def _run(command: Sequence[Any]) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "unused"}
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{done.stderr[-3000:]}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--adapters", type=Path, required=True, help="folder of PEFT folders")
    parser.add_argument("--num-adapters", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", action="append", help="may be repeated")
    parser.add_argument("--chat", action="store_true", help="through chat completions")
    parser.add_argument("--limit", type=int, default=10, help="questions of a task, from the first on")
    parser.add_argument("--lm-eval-python", type=Path, default=Path(sys.executable))
    return parser


if __name__ == "__main__":
    main()
