"""A short measurement at start: how many threads, and which product, are fastest for this base on this machine."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from base.int8 import Int8Linear
from service.engine.cpu import int8_tiles
from service.engine.cpu.threads import use_threads
from service.engine.model.products import create_product

_log = logging.getLogger(__name__)

_ROWS = 16
"""Tokens of a typical step."""
_REPEATS = 15
_GAIN = 0.95
"""More threads, or a copy of the weights in another layout, must be worth it."""


@dataclass(frozen=True)
class Kernels:
    """What was found fastest."""

    num_threads: int
    """Of the engine's thread; on CUDA it hardly matters."""
    packed: bool
    """Weights in a kernel's own layout: oneDNN's for float32, tiles for int8."""


def calibrate(model: nn.Module) -> Kernels:
    """Times the largest linear layer of `model` and its head, which takes a fraction of a second."""
    before = torch.get_num_threads()
    best = Kernels(before, packed=False)
    head = model.get_output_embeddings()  # type: ignore[operator]
    inner = _largest_linear(model, head)
    if inner is None or _tensor_of(inner).is_cuda:
        return best
    try:
        best = _fastest(
            inner, [Kernels(count, packed) for count in _thread_counts(before) for packed in _layouts(inner)]
        )
        # The head of a quantised base is plain.
        if len(_layouts(inner)) == 1 < len(_layouts(head)):
            best = _fastest(head, [Kernels(best.num_threads, packed) for packed in _layouts(head)])
        return best
    finally:
        use_threads(before)


def _fastest(layer: nn.Module, candidates: Sequence[Kernels]) -> Kernels:
    seconds = {kernels: _time(layer, kernels) for kernels in candidates}
    best = candidates[0]
    for kernels in candidates[1:]:
        if seconds[kernels] < _GAIN * seconds[best]:
            best = kernels
    for kernels in candidates:
        _log.info(
            "kernels: %d threads, %s: %.0f us for %d tokens%s",
            kernels.num_threads,
            "packed weights" if kernels.packed else "plain weights",
            seconds[kernels] * 1e6,
            _ROWS,
            " (chosen)" if kernels == best else "",
        )
    return best


def _largest_linear(model: nn.Module, head: nn.Module | None) -> nn.Module | None:
    # The head is as large as a vocabulary, and the layers in between run once for each of them.
    inner = [module for module in model.modules() if type(module) in (nn.Linear, Int8Linear) and module is not head]
    return max(inner, key=lambda module: module.in_features * module.out_features, default=None)  # type: ignore[operator]


def _tensor_of(layer: nn.Module) -> Tensor:
    return layer.weight_q if isinstance(layer, Int8Linear) else next(layer.parameters())


def _thread_counts(most: int) -> list[int]:
    return sorted({1, *(1 << bits for bits in range(most.bit_length()) if 1 << bits <= most), most})


def _layouts(layer: nn.Module | None) -> tuple[bool, ...]:
    if isinstance(layer, Int8Linear):
        packs = int8_tiles.available()
    else:
        plain = type(layer) is nn.Linear and layer.weight.dtype == torch.float32
        packs = plain and torch.backends.mkldnn.is_available()
    return (False, True) if packs else (False,)


@torch.inference_mode()
def _time(layer: nn.Module, kernels: Kernels) -> float:
    use_threads(kernels.num_threads)
    product = create_product([layer], packed=kernels.packed)
    dtype = layer.weight.dtype if type(layer) is nn.Linear else torch.float32
    x = torch.randn(_ROWS, int(layer.in_features), dtype=dtype)  # type: ignore[arg-type]
    product(x)
    return min(_seconds(lambda: product(x)) for _ in range(_REPEATS))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
