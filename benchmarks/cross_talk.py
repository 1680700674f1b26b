"""Whether any request notices the others: `python benchmarks/cross_talk.py [--adapters 50] [--requests 5000]`.

Thousands of concurrent requests of 8 new tokens under more adapters than fit, so that loading and evicting go on under
way, against the greedy tokens of plain PEFT run alone in float32. A difference counts unless the oracle's two best
logits at the first differing token are closer than 1e-3; excused cases are printed. Progress goes to stderr, one
Markdown line to stdout; exits 1 on any difference, or when more than 0.2% are excused.
"""

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mixed_adapters import linear_weights, write_adapter
from peft import PeftModel
from transformers import AutoModelForCausalLM

from base.catalogue import DEFAULT_BASE
from base.loader import LoadOptions, load
from base.source import BaseSource, locate
from service.engine.engine import Engine
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource, AdapterUse, EngineConfig, GenerationRequest, SamplingParams

NEW_TOKENS = 8
PROMPTS = 8
PROMPT_TOKENS = (5, 60)
MAX_LORAS = 8
EXCUSED_GAP = 1e-3
"""Two logits closer than this may change places by the rounding of float32."""
MAX_EXCUSED = 0.002

Prompt = tuple[int, ...]
Asked = tuple[AdapterSource | None, Prompt]
"""None: the base alone."""


@dataclass(frozen=True)
class Greedy:
    """What the oracle chose, and how far ahead of the second best each choice was."""

    token_ids: tuple[int, ...]
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class Served:
    """What the engine gave, and what it did meanwhile."""

    answers: list[tuple[int, ...]]
    loads: int
    evictions: int
    seconds: float


def main() -> None:
    """Makes the adapters, asks the oracle, asks the engine, compares."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lorad-cross-talk-") as home, warnings.catch_warnings():
        # PEFT uses what torch and transformers deprecate.
        warnings.simplefilter("ignore")
        base = locate(options.base, options.home, _say)
        model: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
        model.eval()
        sources = list(_sources(Path(home), model, options.adapters))
        asked = _asked(sources, options.requests, model.config.get_text_config().vocab_size, options.seed)
        expected = _ask_oracle(model, set(asked))
        served = _ask_engine(base, asked)
    _judge(options, asked, expected, served)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=50)
    parser.add_argument("--requests", type=int, default=5000, help="submitted at once")
    parser.add_argument("--base", default=DEFAULT_BASE, help="a catalogue name or a folder")
    parser.add_argument("--home", type=Path, default=Path(".lorad/bases"), help="where catalogue bases live")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and their order")
    return parser.parse_args()


def _sources(home: Path, model: Any, count: int) -> Iterator[AdapterSource]:
    weights = linear_weights(model)
    for at in range(count):
        folder = home / f"a{at}"
        kind = write_adapter(folder, weights, seed=at)
        yield AdapterSource(f"random:{at}", folder, name=f"{kind}-{at}")


def _asked(sources: Sequence[AdapterSource], count: int, vocabulary: int, seed: int) -> list[Asked]:
    """The same prompts for every adapter, so that only the adapter tells answers apart."""
    chance = random.Random(seed)
    pool = [tuple(chance.randrange(vocabulary) for _ in range(chance.randint(*PROMPT_TOKENS))) for _ in range(PROMPTS)]
    return [(chance.choice([None, *sources]), chance.choice(pool)) for _ in range(count)]


def _ask_oracle(model: Any, asked: Iterable[Asked]) -> dict[Asked, Greedy]:
    """Every pair once, adapter by adapter, one prompt at a time."""
    wanted: dict[AdapterSource | None, list[Prompt]] = {}
    for source, prompt in asked:
        wanted.setdefault(source, []).append(prompt)
    found: dict[Asked, Greedy] = {(None, prompt): _greedy(model, prompt) for prompt in wanted.pop(None, [])}
    for number, source in enumerate(wanted, 1):
        assert source is not None
        with _adapted(model, source) as adapted:
            found |= {(source, prompt): _greedy(adapted, prompt) for prompt in wanted[source]}
        _say(f"oracle: {number} of {len(wanted)} adapters")
    return found


@contextmanager
def _adapted(model: Any, source: AdapterSource) -> Iterator[Any]:
    """Plain PEFT around the model, taken off at the end."""
    wrapped = PeftModel.from_pretrained(model, str(source.folder)).eval()
    yield wrapped
    wrapped.unload()


@torch.inference_mode()
def _greedy(model: Any, prompt: Prompt) -> Greedy:
    token_ids: list[int] = []
    gaps: list[float] = []
    given, past = list(prompt), None
    while len(token_ids) < NEW_TOKENS:
        out = model(input_ids=torch.tensor([given]), past_key_values=past, use_cache=True, logits_to_keep=1)
        top, past = out.logits[0, -1].topk(2), out.past_key_values
        given = [int(top.indices[0])]
        token_ids += given
        gaps.append(float(top.values[0] - top.values[1]))
    return Greedy(tuple(token_ids), tuple(gaps))


def _ask_engine(source: BaseSource, asked: Sequence[Asked]) -> Served:
    """All at once; fewer places than adapters on every tier, prompts in chunks, a cache that has to evict."""
    config = EngineConfig(
        max_num_seqs=32, max_num_batched_tokens=256, cache_bytes=192 << 20, max_waiting=len(asked),
        max_loras=MAX_LORAS, max_cpu_loras=2 * MAX_LORAS,
    )  # fmt: skip
    base = load(source, LoadOptions(device="cpu", dtype="float32"))
    metrics = EngineMetrics("base", MAX_LORAS)
    engine = Engine(base, config, metrics)
    try:
        start = time.perf_counter()
        streams = engine.submit_all([_request(*each) for each in asked])
        answers = []
        for stream in streams:
            answers.append(stream.answer().token_ids)
            if len(answers) % 250 == 0:
                _say(f"engine: {len(answers)} of {len(asked)} requests")
        seconds = time.perf_counter() - start
    finally:
        engine.close()
    return Served(answers, _count(metrics, "loads"), _count(metrics, "evictions"), seconds)


def _request(source: AdapterSource | None, prompt: Prompt) -> GenerationRequest:
    return GenerationRequest(
        prompt_ids=prompt,
        params=SamplingParams(max_tokens=NEW_TOKENS),
        stop_ids=frozenset(),
        adapters=() if source is None else (AdapterUse(source),),
    )


def _count(metrics: EngineMetrics, what: str) -> int:
    found = [
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"lorad:adapter_{what}_total"
    ]
    return int(sum(found))


def _judge(options: argparse.Namespace, asked: Sequence[Asked], expected: dict[Asked, Greedy], served: Served) -> None:
    differences = excused = 0
    for (source, prompt), answer in zip(asked, served.answers, strict=True):
        wanted = expected[source, prompt]
        if answer == wanted.token_ids:
            continue
        at = next(at for at in range(NEW_TOKENS) if answer[: at + 1] != wanted.token_ids[: at + 1])
        near = wanted.gaps[at] < EXCUSED_GAP
        excused, differences = excused + near, differences + (not near)
        label = "base" if source is None else source.label
        verdict = "excused" if near else "DIFFERENT"
        _say(f"{verdict}, token {at}, gap {wanted.gaps[at]:.1e}: {label} {answer} for {wanted.token_ids}")
    distinct = len({greedy.token_ids for greedy in expected.values()})
    print(
        f"| {options.adapters} adapters, {MAX_LORAS} on the device | {len(asked):,} requests of {NEW_TOKENS} tokens | "
        f"{differences} different | {excused} excused ({excused / len(asked):.2%}) | "
        f"{distinct} distinct answers of {len(expected)} | {served.loads} loads, {served.evictions} evictions | "
        f"{served.seconds:.0f} s |"
    )
    if differences or excused > MAX_EXCUSED * len(asked):
        sys.exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
