"""Tells when a run's loss or gradients leave the range of its last steps, and when they stay away."""

import statistics
from collections import deque
from dataclasses import dataclass

WINDOW = 32
"""Steps that what is usual is taken from."""
_FEWEST = 16
_DEVIATIONS = 8.0
"""Robust standard deviations above the median that are beyond chance."""
_RATIO = 2.0
"""And so many times the median: late in a run the deviations are tiny."""
_TO_STANDARD = 1.4826
"""Median absolute deviation to standard deviation, for normal values."""
_WORSE = 1.1
"""Times its first loss that a run must stay above for a whole window to count as lost."""


@dataclass(frozen=True)
class Spike:
    """One value far above the usual."""

    name: str
    value: float
    usual: float


class Alarm:
    """Listens to the steps of one process; what is usual is learnt anew by a resumed run.

    Args:
        start: the level that the run began with, where an earlier process has found it.
    """

    def __init__(self, start: float | None = None) -> None:
        self._values = {name: deque[float](maxlen=WINDOW) for name in ("loss", "gradient norm")}
        self._first: list[float] = []
        self.start = start
        """The highest of the run's first losses; None until there are enough of them."""

    def hear(self, loss: float, grad_norm: float) -> list[Spike]:
        """What is far above the usual in this step. A median hardly notices that it then joins the usual."""
        spikes = []
        for name, value in (("loss", loss), ("gradient norm", grad_norm)):
            values = self._values[name]
            usual = _exceeded(values, value)
            if usual is not None:
                spikes.append(Spike(name, value, usual))
            values.append(value)
        if self.start is None:
            self._first.append(loss)
            if len(self._first) == _FEWEST:
                self.start = max(self._first)
        return spikes

    @property
    def lost(self) -> bool:
        """Whether every loss of a whole window is above what the run began with."""
        losses = self._values["loss"]
        return self.start is not None and len(losses) == WINDOW and min(losses) > _WORSE * self.start


def _exceeded(values: "deque[float]", value: float) -> float | None:
    """The median that `value` is far above; None if it is not."""
    if len(values) < _FEWEST:
        return None
    usual = statistics.median(values)
    deviation = _TO_STANDARD * statistics.median(abs(each - usual) for each in values)
    return usual if value > max(usual + _DEVIATIONS * deviation, _RATIO * usual) else None
