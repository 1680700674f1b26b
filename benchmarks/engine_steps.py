"""What one step of the engine takes in a process of its own: no HTTP, no sampling, no load generator.

`PYTHONPATH=. python benchmarks/engine_steps.py --base FOLDER --adapters DIR [--quantization int8] [--reference]`

DIR holds PEFT folders `a0` to `a7` of one rank. 16 sequences decode at once: on the base, all with one adapter, and two
with each of eight. The three take turns, because the machine's speed drifts.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from adapters.config import LoraConfig
from adapters.weights import load_weights
from base.loader import LoadedBase, LoadOptions, load
from base.source import BaseSource
from service.engine.cpu.threads import use_threads
from service.engine.lora.fold import fold
from service.engine.lora.routing import Use, Uses
from service.engine.lora.slots import Slot
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig

NUM_SEQUENCES, NUM_ADAPTERS, PROMPT_TOKENS, NEW_TOKENS = 16, 8, 32, 32
PAGES_EACH = 4


def main() -> None:
    """Runs the rounds and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--quantization", choices=("none", "int8", "nf4"), default="none")
    parser.add_argument("--reference", action="store_true", help="torch's operations, and transformers' modules")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    base = load(BaseSource("base", arguments.base), LoadOptions(device="cpu", quantization=arguments.quantization))
    runner = ModelRunner(base, EngineConfig(fused=not arguments.reference))
    use_threads(runner.kernels.num_threads)
    slots = [_load(base, runner, arguments.adapters / f"a{index}") for index in range(NUM_ADAPTERS)]
    cases: dict[str, list[Uses]] = {
        "base": [()] * NUM_SEQUENCES,
        "one adapter": [(Use(slots[0]),)] * NUM_SEQUENCES,
        "8 adapters": [(Use(slots[row * NUM_ADAPTERS // NUM_SEQUENCES]),) for row in range(NUM_SEQUENCES)],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(arguments.rounds + 1):
        for name, uses in cases.items():
            times[name].append(_measure(runner, uses))
    print(f"{runner.kernels.num_threads} threads, {arguments.rounds} rounds, median ms (range)")
    for name, found in times.items():
        # The first round warms up.
        prefills, steps = zip(*found[1:], strict=True)
        print(f"{name:12} decode {_shown(steps)}, prompts of {NUM_SEQUENCES * PROMPT_TOKENS} tokens {_shown(prefills)}")


def _load(base: LoadedBase, runner: ModelRunner, folder: Path) -> Slot:
    config = LoraConfig.read(folder)
    return runner.slots.write(fold(load_weights(folder, config), config, runner.groups, runner.products, base.dtype))


def _measure(runner: ModelRunner, uses: Sequence[Uses]) -> tuple[float, float]:
    """Seconds of all prompts together, and of the median step after them."""
    tables = [range(row * PAGES_EACH, (row + 1) * PAGES_EACH) for row in range(NUM_SEQUENCES)]
    prompt = list(range(100, 100 + PROMPT_TOKENS))
    started = time.perf_counter()
    runner.run([Work(Span(prompt, 0, tables[row]), uses[row], [PROMPT_TOKENS - 1]) for row in range(NUM_SEQUENCES)])
    prefill = time.perf_counter() - started
    steps = []
    for position in range(PROMPT_TOKENS, PROMPT_TOKENS + NEW_TOKENS):
        works = [Work(Span([7], position, tables[row]), uses[row], [0]) for row in range(NUM_SEQUENCES)]
        started = time.perf_counter()
        runner.run(works)
        steps.append(time.perf_counter() - started)
    return prefill, statistics.median(steps)


def _shown(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.1f} ({min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f})"


if __name__ == "__main__":
    main()
