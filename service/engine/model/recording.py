"""CUDA graphs (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs): a pass recorded once, replayed at once.

Shape legend: B rows, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recorded:
    """A pass that can be run again on whatever its inputs hold by then."""

    replay: Callable[[], None]
    logits_BV: Tensor
    """Written by each replay."""


Recorder = Callable[[Callable[[], Tensor]], Recorded]
"""`record(work)` runs `work`, which gives logits, once or more; RuntimeError where it cannot be recorded."""


class CudaRecorder:
    """Records on a stream of its own; all graphs share one pool of memory, because they never run side by side."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Tensor]) -> Recorded:
        """Runs `work` once as it is, which compiles kernels and lets libraries take their memory, then records it."""
        current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                work()
            # Of this thread alone: adapters are copied by another one meanwhile.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                logits_BV = work()
        finally:
            # A capture that fails leaves its stream in place.
            torch.cuda.set_stream(current)
        current.wait_stream(self._stream)
        return Recorded(graph.replay, logits_BV)
