"""How much of the CPUs went to neither the measured side nor the load generator: a busy machine spoils a figure."""

import os
import time

import psutil
from peers.child import Child


class Contention:
    """Counts from its making on."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._start = self._clocks()

    def share(self) -> float:
        """Of all CPUs, since the start: 0 is a machine to ourselves."""
        wall, busy, ours = (now - then for now, then in zip(self._clocks(), self._start, strict=True))
        return max(busy - ours, 0.0) / (wall * (os.cpu_count() or 1))

    def _clocks(self) -> tuple[float, float, float]:
        times, own = psutil.cpu_times(), os.times()
        busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        return time.perf_counter(), busy, own.user + own.system + self._child.cpu_seconds()
