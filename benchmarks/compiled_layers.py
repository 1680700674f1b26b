"""What `torch.compile` and FlexAttention would give the trainer on the CPU: `benchmarks/compiled_layers.py --base DIR`.

Forward and backward of one decoder layer with LoRA on a pack of rows, and of attention alone: as `training.layers` has
them against compiled ones, sides in turn within a round. Prints Markdown; what cannot run says why.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

# Beside this script `training` is a benchmark.
sys.path.pop(0)

from base.loader import LoadOptions, load
from base.source import BaseSource
from training.config import TrainingConfig
from training.layers.attention import Shape, attend
from training.layers.network import Network

Work = Callable[[], None]


def main() -> None:
    """Times all sides in each round."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model: Any = load(BaseSource("base", options.base), LoadOptions(device="cpu", quantization="none")).model
    print("| one layer, forward and backward | ms: median | of what lorad does: median (range) |")
    print("| --- | ---: | ---: |")
    for sides in (_attentions(model, options.row), _layers(model, options.row)):
        _compare(sides, options.rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the model")
    parser.add_argument("--row", type=int, action="append", help="tokens of a row of the pack; may be repeated")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(row=[218, 196, 136, 132, 132])
    return parser


def _compare(sides: dict[str, Work], rounds: int) -> None:
    usable: dict[str, list[float]] = {}
    for name, work in sides.items():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a side that cannot run is a result
            print(f"| {name} | | {type(error).__name__}: {str(error).strip().splitlines()[0][:120]} |")
        else:
            usable[name] = []
    for _ in range(rounds):
        for name, times in usable.items():
            start = time.perf_counter()
            sides[name]()
            times.append(time.perf_counter() - start)
    own = next(iter(usable.values()))
    for name, times in usable.items():
        ratios = [mine / first for mine, first in zip(times, own, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(times) * 1e3:.2f} | {spread} |", flush=True)


def _attentions(model: Any, rows: Sequence[int]) -> dict[str, Work]:
    config = model.config
    tokens, size = sum(rows), config.head_dim
    heads = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    q, k, v = (torch.randn(1, tokens, count, size, requires_grad=True) for count in heads)
    owners = torch.repeat_interleave(torch.tensor(rows))
    shape = Shape(size**-0.5, None, 0.0)
    compiled = torch.compile(flex_attention)

    def sees(_batch: Tensor, _head: Tensor, at: Tensor, other: Tensor) -> Tensor:
        return (owners[at] == owners[other]) & (at >= other)

    mask = create_block_mask(sees, None, None, tokens, tokens, device="cpu")

    def flex() -> Tensor:
        parts = (part.transpose(1, 2) for part in (q, k, v))
        out: Tensor = compiled(*parts, block_mask=mask, enable_gqa=True)
        return out

    # Gradients that lie in memory as a network's do; those of a sum have no strides, which products are slow with.
    grad = torch.randn(1, tokens, heads[0], size)
    return {
        "attention row by row (lorad)": lambda: attend(q, k, v, shape, rows).backward(grad),
        "FlexAttention, compiled": lambda: flex().transpose(1, 2).backward(grad),
    }


def _layers(model: Any, rows: Sequence[int]) -> dict[str, Work]:
    """Adapted layer 0: fused; fused and compiled; transformers' own forward with a mask, compiled or not."""
    network = Network(model, TrainingConfig())
    decoder = network.model.get_decoder()
    layer, tokens = decoder.layers[0], sum(rows)
    positions = torch.cat([torch.arange(row) for row in rows])[None]
    owners = torch.repeat_interleave(torch.tensor(rows))
    mask = ((owners[:, None] == owners[None]) & torch.ones(tokens, tokens, dtype=torch.bool).tril())[None, None]
    hidden = torch.randn(1, tokens, model.config.hidden_size, requires_grad=True)
    grad = torch.randn(1, tokens, model.config.hidden_size)
    angles = decoder.rotary_emb(hidden, position_ids=positions)
    fused = [module for module in layer.modules() if "forward" in vars(module)]
    forwards = {module: module.forward for module in fused}
    compiled = torch.compile(layer.__call__)

    def run(call: Any, *, own: bool) -> Work:
        def work() -> None:
            for module, forward in forwards.items():
                if own:
                    module.forward = forward
                else:
                    vars(module).pop("forward", None)
            extra = {"row_lengths": rows} if own else {}
            call(hidden, attention_mask=mask, position_embeddings=angles, **extra).backward(grad)

        return work

    return {
        "adapted layer, fused functions (lorad)": run(layer, own=True),
        "adapted layer, transformers' modules": run(layer, own=False),
        "adapted layer, transformers' modules compiled": run(compiled, own=False),
    }


if __name__ == "__main__":
    main()
