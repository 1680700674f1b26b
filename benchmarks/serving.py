"""How fast lorad serves many adapters, beside vLLM's and llama.cpp's own servers: `benchmarks/serving.py --help`.

Every server is driven over HTTP by one load generator with the same prompts, greedy and past end tokens, and no prompt
is asked twice, so that prefill counts. Sides take turns and the waiting ones are frozen (SIGSTOP): what the machine
does meanwhile hits all alike, and ratios are taken within a round. Progress goes to stderr, Markdown to stdout.

throughput: all sides, a batch of requests at once. rotation, cold: lorad with many more adapters than fit.
prefill: all servers, a long prompt beside running streams. publish: finetuning jobs,
and their models' first tokens.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import psutil
from peers import cold, prefill, publish, rotation, throughput
from peers.llamacpp import LlamaCpp
from peers.lorad import KERNEL_CHOICE, LABELS, Lorad, LoradOptions
from peers.peft import Peft
from peers.registry import Registry
from peers.report import Report
from peers.side import HttpServer, Side
from peers.vllm import Vllm

_Side = TypeVar("_Side", bound=Side)

_CONTEXT_TOKENS = 1024
_LONG_CONTEXT_TOKENS = 8192


def main() -> None:
    """Runs the scenarios that were asked for and prints what they found."""
    options = _parser().parse_args()
    # Ends like Ctrl-C: servers that are left frozen would wait for ever.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports: list[Report] = []
    for scenario in options.scenario or ["throughput"]:
        with _folder(options.folder, scenario) as folder:
            for report in SCENARIOS[scenario](options, folder):
                print(f"{report.markdown()}\n", flush=True)
                reports.append(report)
        if options.json:
            options.json.write_text(json.dumps(_values(reports), indent=1))


def run_throughput(options: argparse.Namespace, folder: Path) -> Iterator[Report]:
    """All sides in turn."""
    sides: list[Side] = [*_lorads(options), *_peers(options, _CONTEXT_TOKENS)]
    if options.peft:
        sides.append(Peft(options.base, options.adapters))
    load = throughput.Load(rounds=options.rounds, num_requests=options.requests, new_tokens=options.new_tokens)
    sides = _chosen(sides, options.side)
    with _running(sides, folder):
        yield asyncio.run(throughput.measure(sides, load, _say))


def run_prefill(options: argparse.Namespace, folder: Path) -> Iterator[Report]:
    """All servers in turn."""
    servers: list[HttpServer] = [*_lorads(options, off=False), *_peers(options, _LONG_CONTEXT_TOKENS)]
    servers = _chosen(servers, options.side)
    with _running(servers, folder):
        yield asyncio.run(prefill.measure(servers, prefill.Prefill(rounds=options.rounds), _say))


def run_rotation(options: argparse.Namespace, folder: Path) -> Iterator[Report]:
    """Each lorad alone."""
    plan = rotation.Rotation(rounds=options.rounds, seconds=options.seconds, zipf=options.zipf, visited=options.visited)
    for server in _chosen(_lorads(options, off=False), options.side):
        with _stocked(server, options, folder) as registry:
            yield asyncio.run(rotation.measure(server, registry, plan, _say))


def run_cold(options: argparse.Namespace, folder: Path) -> Iterator[Report]:
    """Each lorad alone."""
    plan = cold.Cold(rounds=options.rounds, seconds=options.seconds)
    for server in _chosen(_lorads(options, off=False), options.side):
        with _stocked(server, options, folder) as registry:
            yield asyncio.run(cold.measure(server, registry, plan, _say))


def run_publish(options: argparse.Namespace, folder: Path) -> Iterator[Report]:
    """Each lorad alone."""
    for server in _chosen(_lorads(options, off=False, workers=1), options.side):
        with _running([server], folder):
            server.child.thaw()
            yield asyncio.run(publish.measure(server, publish.Publish(rounds=options.rounds), _say))


SCENARIOS = {
    "throughput": run_throughput,
    "rotation": run_rotation,
    "cold": run_cold,
    "prefill": run_prefill,
    "publish": run_publish,
}


@contextmanager
def _folder(kept: Path | None, scenario: str) -> Iterator[Path]:
    """For logs and registries; a temporary one unless they are to be kept."""
    if kept:
        (kept / scenario).mkdir(parents=True)
        yield kept / scenario
        return
    with tempfile.TemporaryDirectory(prefix="lorad-benchmark-") as folder:
        yield Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--adapters", type=Path, required=True, help="PEFT folders a0 to a7; for llama.cpp a0.gguf too")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default throughput; may be repeated")
    parser.add_argument("--quantization", choices=LABELS, action="append", help="of lorad; default none and int8")
    parser.add_argument("--lorad-flags", type=shlex.split, default=[], help="more flags for lorad serve, in one string")
    parser.add_argument("--vllm-python", type=Path, help="python of the environment that has vLLM")
    parser.add_argument("--llama-bin", type=Path, help="folder of llama-server")
    parser.add_argument("--gguf", type=Path, help="the model for llama.cpp")
    parser.add_argument("--peft", action="store_true", help="also plain PEFT, a static batch without a server")
    parser.add_argument("--side", action="append", help="only these sides, by name; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="after one that warms up")
    parser.add_argument("--requests", type=int, default=16, help="throughput: at once")
    parser.add_argument("--new-tokens", type=int, default=32, help="throughput: of each request")
    parser.add_argument("--seconds", type=float, default=30, help="rotation, cold: of each half of a round")
    parser.add_argument("--num-adapters", type=int, default=200, help="rotation, cold: registered")
    parser.add_argument("--visited", action="store_true", help="rotation: each adapter has been asked for once")
    parser.add_argument("--zipf", type=float, default=1.0, help="rotation: exponent")
    parser.add_argument("--folder", type=Path, help="new folder in which logs and registries are kept")
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    return parser


def _lorads(options: argparse.Namespace, *, off: bool = True, workers: int = 0) -> list[Lorad]:
    """Without LoRA too, where that is asked for."""
    found = []
    for quantization in options.quantization or ["none", "int8"]:
        given = LoradOptions(
            base=options.base,
            adapters=options.adapters,
            quantization=quantization,
            flags=tuple(options.lorad_flags),
            workers=workers,
        )
        found += [Lorad(given), Lorad(given, lora=False)] if off else [Lorad(given)]
    return found


def _peers(options: argparse.Namespace, context_tokens: int) -> Iterator[HttpServer]:
    if options.vllm_python:
        yield Vllm(options.vllm_python, options.base, options.adapters, context_tokens)
    else:
        _say("vLLM is left out: no --vllm-python")
    if options.llama_bin and options.gguf:
        yield LlamaCpp(options.llama_bin, options.gguf, options.adapters, context_tokens)
    else:
        _say("llama.cpp is left out: no --llama-bin and --gguf")


def _chosen(sides: Sequence[_Side], names: Sequence[str] | None) -> list[_Side]:
    chosen = [side for side in sides if not names or side.name in names]
    if not chosen:
        raise SystemExit(f"none of these sides is there; choose among {', '.join(side.name for side in sides)}")
    return chosen


@contextmanager
def _running(sides: Sequence[Side], folder: Path) -> Iterator[None]:
    """Starts them one after the other and freezes each."""
    with ExitStack() as stack:
        for side in sides:
            _say(f"{side.name} starts")
            _start(side, folder, stack)
            side.child.freeze()
        yield


@contextmanager
def _stocked(server: Lorad, options: argparse.Namespace, folder: Path) -> Iterator[Registry]:
    """A running server with many adapters."""
    with ExitStack() as stack:
        _say(f"{server.name} starts")
        _start(server, folder, stack)
        yield Registry(server, options.base, options.num_adapters, _say)


def _start(side: Side, folder: Path, stack: ExitStack) -> None:
    try:
        side.start(folder)
    finally:
        if hasattr(side, "child"):
            stack.callback(side.child.stop)
            _say(shlex.join(side.child.command))
            for line in side.child.log_lines(KERNEL_CHOICE):
                _say(f"{side.name}: {line}")


def _values(reports: Sequence[Report]) -> dict[str, object]:
    return {
        "command": shlex.join(sys.argv),
        "at": datetime.now(UTC).isoformat(),
        "machine": platform.platform(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "reports": [{"title": report.title, **report.data} for report in reports],
    }


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
