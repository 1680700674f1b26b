"""Matrix products of training: torch's own, or oneDNN's where a measurement says that it is faster.

Shape legend: N rows, I in_features, O out_features.
"""

import functools
import logging
import math
import time
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_log = logging.getLogger(__name__)

_MEASURED = (256, 576, 1536)
"""N, I and O of the product that is timed: of a fixed size, so that the choice does not depend on the base."""
_REPEATS = 9
_GAIN = 0.8
"""oneDNN must take less than this share of the plain product's time: a narrow choice could fall otherwise in a resumed
run, and a resumed run repeats the uninterrupted one to the bit. For the same reason a thread's own time is compared:
what else the machine does changes the two threads' wall time threefold, and this ratio by a tenth."""


class Product(Protocol):
    """`x @ w.T + bias + added`, without autograd; any of the operands may be a transposed view."""

    def __call__(
        self, x_NI: Tensor, w_OI: Tensor, bias_O: Tensor | None = None, added_NO: Tensor | None = None
    ) -> Tensor:
        """[N, O], in memory of its own."""
        ...


def plain(x_NI: Tensor, w_OI: Tensor, bias_O: Tensor | None = None, added_NO: Tensor | None = None) -> Tensor:
    """Whatever torch takes for this device and dtype."""
    if added_NO is None:
        return functional.linear(x_NI, w_OI, bias_O)
    out_NO = torch.addmm(added_NO, x_NI, w_OI.t())
    return out_NO if bias_O is None else out_NO.add_(bias_O)


def onednn(x_NI: Tensor, w_OI: Tensor, bias_O: Tensor | None = None, added_NO: Tensor | None = None) -> Tensor:
    """By the operators that torch's compiler emits; the sum is formed while a block is still in cache."""
    if added_NO is None:
        out_NO: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, w_OI, bias_O, "none", [], "")
    else:
        out_NO = torch.ops.mkldnn._linear_pointwise.binary(x_NI, added_NO, w_OI, bias_O, "add")
    return out_NO


def create_product(device: torch.device, dtype: torch.dtype) -> Product:
    """The faster of the two, here and now; only float32 on the CPU leaves a choice."""
    choice = device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return _fastest() if choice and hasattr(torch.ops.mkldnn, "_linear_pointwise") else plain


@functools.cache
def _fastest() -> Product:
    seconds = _seconds((plain, onednn))
    best: Product = onednn if seconds[onednn] < _GAIN * seconds[plain] else plain
    _log.info(
        "products: plain %.0f us, oneDNN %.0f us on one thread; %s is taken",
        seconds[plain] * 1e6,
        seconds[onednn] * 1e6,
        "oneDNN" if best is onednn else "plain",
    )
    return best


@torch.inference_mode()
def _seconds(products: Sequence[Product]) -> dict[Product, float]:
    """The least that each took of this thread's time, all in turn."""
    rows, inner, outer = _MEASURED
    x_NI, w_OI = torch.ones(rows, inner), torch.ones(outer, inner)
    least = dict.fromkeys(products, math.inf)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_REPEATS):
            for product in products:
                started = time.thread_time()
                product(x_NI, w_OI)
                least[product] = min(least[product], time.thread_time() - started)
    finally:
        torch.set_num_threads(num_threads)
    return least
