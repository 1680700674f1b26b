"""The power law that a loss follows as data or compute grow (arXiv 2001.08361), fitted in logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_POINTS = 3
"""Through two points every line goes."""


@dataclass(frozen=True)
class PowerLaw:
    """`y = factor · x ** exponent`."""

    factor: float
    exponent: float
    r_squared: float
    """Share of the variance of log y that it explains."""

    def __call__(self, x: float) -> float:
        """The value at `x`."""
        return float(self.factor * x**self.exponent)


def fit(xs: Sequence[float], ys: Sequence[float]) -> PowerLaw | None:
    """Least squares in logarithms; None for fewer than three different positive x, or a y that is not positive."""
    if len({x for x in xs if x > 0}) < MIN_POINTS or min(*xs, *ys) <= 0:
        return None
    log_x, log_y = np.log(xs), np.log(ys)
    exponent, offset = np.polyfit(log_x, log_y, 1)
    residual = float(np.square(log_y - (exponent * log_x + offset)).sum())
    spread = float(np.square(log_y - log_y.mean()).sum())
    return PowerLaw(float(np.exp(offset)), float(exponent), 1.0 if spread == 0 else 1 - residual / spread)
