"""How fast one GPU decodes for many adapters at once: `python benchmarks/gpu_serving.py --quantization none`.

The base has the sizes of Llama 3 8B (arXiv:2407.21783) and random weights made in memory: nothing is downloaded. What
is timed is a step of the engine's model runner and its greedy sampler for a full batch, prompts done: no scheduler, no
HTTP. Modes take turns, so that what the device does meanwhile hits all alike. Progress goes to stderr, Markdown to
stdout.

base: adapters are loaded and none is used. one: all sequences under one adapter. mixed: spread over all adapters.

The bound is the time in which memory can deliver what a step must read once: the weights as they are stored, the keys
and values of the context, and the adapters in use.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import bitsandbytes.nn
import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from base.loader import LoadedBase
from service.engine.cache.store import CacheShape
from service.engine.lora.fold import FoldedAdapter, FoldedGroup
from service.engine.lora.routing import Use, Uses
from service.engine.model.acceleration import Acceleration, find_acceleration
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig, SamplingParams
from service.engine.sampling.sampler import sample
from service.engine.sampling.state import SamplingState

LLAMA_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=8192,
    tie_word_embeddings=False,
)
SMALL = LlamaConfig(
    vocab_size=1000,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
)
PAGE_TOKENS = 16
WARM_UP_STEPS = 5
"""The first of them compile kernels and capture graphs."""


@dataclass(frozen=True)
class Mode:
    """What the sequences go through, and what a step must read."""

    name: str
    uses: Sequence[Uses]
    num_bytes: int


def main() -> None:
    """Measures and prints."""
    options = _parser().parse_args()
    if not options.small and not torch.cuda.is_available():
        raise SystemExit("this needs a CUDA device; --small tries the script itself on any machine")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    base = _base(SMALL if options.small else LLAMA_8B, options.quantization, device)
    weight_bytes = _weight_bytes(base.model)
    _say(f"weights: {weight_bytes / 1e9:.2f} GB are read in a step")
    bench = Bench(base, options)
    modes = bench.modes(weight_bytes)
    for mode in modes:
        _say(f"{mode.name}: {bench.measure(mode, WARM_UP_STEPS) * 1e3:.2f} ms a step while warming up")
    rounds = [{mode.name: bench.measure(mode, options.steps) for mode in modes} for _ in range(options.rounds)]
    print(_report(options, modes, rounds, options.bandwidth * 1e9 if options.bandwidth else _bandwidth(device)))


class Bench:
    """A runner with a full batch and all adapters loaded."""

    def __init__(self, base: LoadedBase, options: argparse.Namespace) -> None:
        self._batch, self._context = options.batch, options.context
        pages_each = -(-(options.context + max(options.steps, WARM_UP_STEPS)) // PAGE_TOKENS)
        shape = CacheShape.of(base.model.config, PAGE_TOKENS)
        self._token_bytes = shape.page_bytes(base.dtype) // PAGE_TOKENS
        config = EngineConfig(
            page_tokens=PAGE_TOKENS,
            cache_bytes=options.batch * pages_each * shape.page_bytes(base.dtype),
            max_num_seqs=options.batch,
            max_loras=options.adapters,
        )
        self._runner = ModelRunner(base, config, _acceleration(base.device, graphs=not options.no_graphs))
        self._pages = [range(row * pages_each, (row + 1) * pages_each) for row in range(options.batch)]
        adapter = _random_adapter(self._runner, options.rank, base.dtype)
        self._adapter_bytes = adapter.num_bytes
        self._uses = [Use(self._runner.slots.write(adapter)) for _ in range(options.adapters)]
        _say(f"adapters: {options.adapters} of {adapter.num_bytes / 1e6:.1f} MB")

    def modes(self, weight_bytes: int) -> list[Mode]:
        """Base, one, mixed; sequences of one adapter side by side, as the scheduler has them."""
        rows, num_bytes = range(self._batch), weight_bytes + self._batch * self._context * self._token_bytes
        spread: list[Uses] = [(self._uses[row * len(self._uses) // self._batch],) for row in rows]
        return [
            Mode("base", [()] * self._batch, num_bytes),
            Mode("one", [(self._uses[0],)] * self._batch, num_bytes + self._adapter_bytes),
            Mode("mixed", spread, num_bytes + len(set(spread)) * self._adapter_bytes),
        ]

    def measure(self, mode: Mode, num_steps: int) -> float:
        """Seconds a step, from the context on."""
        params = SamplingParams(max_tokens=num_steps)
        vocabulary_size = self._runner.vocabulary_size
        states = [SamplingState(params, (1,), frozenset(), vocabulary_size) for _ in range(self._batch)]
        tokens = [1 + row for row in range(self._batch)]
        start = time.perf_counter()
        for position in range(self._context, self._context + num_steps):
            rows = zip(tokens, self._pages, mode.uses, strict=True)
            works = [Work(Span([token], position, pages), uses, [0]) for token, pages, uses in rows]
            tokens = [choice.token_id for choice in sample(self._runner.run(works), states)]
        return (time.perf_counter() - start) / num_steps


def _base(config: LlamaConfig, quantization: str, device: torch.device) -> LoadedBase:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    # Calls into transformers are untyped.
    auto: Any = AutoModelForCausalLM
    tokenizer: Any = PreTrainedTokenizerFast
    with torch.device(device):
        model = auto.from_config(config, dtype=dtype).eval()
    model.requires_grad_(requires_grad=False)
    if quantization == "nf4":
        _quantise(model, dtype, device)
    return LoadedBase(
        name="random",
        digest="random",
        model=model,
        tokenizer=tokenizer(tokenizer_object=Tokenizer(models.BPE())),
        device=device,
        dtype=dtype,
        quantization="nf4" if quantization == "nf4" else "none",
    )


def _quantise(model: Any, dtype: torch.dtype, device: torch.device) -> None:
    """As the loader asks bitsandbytes to: every linear layer but the head."""
    modules: Any = bitsandbytes.nn
    for name, linear in list(model.model.named_modules()):
        if type(linear) is nn.Linear:
            layer = modules.Linear4bit(
                *(linear.in_features, linear.out_features),
                bias=False,
                compute_dtype=dtype,
                compress_statistics=True,
                quant_type="nf4",
                device="meta",
            )
            layer.weight = modules.Params4bit(
                linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
            ).to(device)
            layer.support_avx512bf16_for_cpu = False
            parent, _, child = name.rpartition(".")
            setattr(model.model.get_submodule(parent), child, layer.eval())


def _weight_bytes(model: Any) -> int:
    """Of all weights but the embeddings, of which a step takes a few rows."""
    embeddings = model.get_input_embeddings().weight
    return sum(weight.nbytes for weight in model.parameters() if weight is not embeddings)


def _acceleration(device: torch.device, *, graphs: bool) -> Acceleration | None:
    found = find_acceleration(device)
    return found if graphs or found is None else replace(found, record=_refuse)


def _refuse(work: Any) -> Any:
    raise RuntimeError(f"--no-graphs: {work.__qualname__}")


def _random_adapter(runner: ModelRunner, rank: int, dtype: torch.dtype) -> FoldedAdapter:
    """On every linear layer; small, so that activations stay as they are."""
    groups = {}
    for group in runner.groups:
        a_IR = torch.randn(group.in_features, rank * len(group.names)) / group.in_features**0.5
        b_PRF = torch.randn(len(group.pieces), rank, group.piece_features) * 1e-3
        groups[group.name] = FoldedGroup(a_IR.to(dtype), b_PRF.to(dtype), None)
    adapter = FoldedAdapter(rank, groups)
    return adapter.pinned() if torch.cuda.is_available() else adapter


def _bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, reads and writes together; somewhat less than the data sheet's."""
    source = torch.zeros((2 << 30) if device.type == "cuda" else (64 << 20), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    seconds = []
    for _ in range(10):
        _wait(device)
        start = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _report(
    options: argparse.Namespace, modes: Sequence[Mode], rounds: Sequence[dict[str, float]], bandwidth: float
) -> str:
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    source = "given" if options.bandwidth else "of a copy, measured"
    graphs = "without graphs" if options.no_graphs or not torch.cuda.is_available() else "with graphs"
    lines = [
        f"{machine}, torch {torch.__version__}, {options.quantization}, {graphs}, memory {bandwidth / 1e12:.2f} TB/s "
        f"({source}); batch {options.batch}, context {options.context}, {options.adapters} adapters of rank "
        f"{options.rank} on every linear layer; medians of {len(rounds)} rounds of {options.steps} steps",
        "",
        "| mode | tok/s | ms a step | of base | of the bound |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for mode in modes:
        seconds = statistics.median(each[mode.name] for each in rounds)
        share = statistics.median(each[modes[0].name] / each[mode.name] for each in rounds)
        bound = mode.num_bytes / bandwidth / seconds
        speed = options.batch / seconds
        lines.append(f"| {mode.name} | {speed:.0f} | {seconds * 1e3:.2f} | {share:.1%} | {bound:.1%} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--batch", type=int, default=64, help="sequences")
    parser.add_argument("--adapters", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16, help="a power of two from 8 on")
    parser.add_argument("--context", type=int, default=512, help="tokens of each sequence before the first step")
    parser.add_argument("--steps", type=int, default=64, help="of a round, each a token for every sequence")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bandwidth", type=float, help="of the memory in GB/s, from the data sheet; default: measured")
    parser.add_argument("--no-graphs", action="store_true", help="launch the kernels one by one")
    parser.add_argument("--small", action="store_true", help="a tiny base, to try the script itself")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
