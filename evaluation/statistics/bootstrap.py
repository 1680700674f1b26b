"""Percentile bootstrap over cases (Efron & Tibshirani 1993, chapters 13 and 16)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation.errors import ComparisonError

CONFIDENCE = 0.95
SAMPLES = 10_000
MAX_DISTINCT = 64
"""Up to so many distinct rows a resample is drawn as counts of each, which is the same distribution and cheaper."""
_CHUNK = 1 << 20
"""Indices drawn at once."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    confidence: float = CONFIDENCE,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of a sum over a sum, such as loss: each case's negative log likelihood over its tokens.

    Raises:
        ComparisonError: There are no values, or the confidence is not between 0 and 1.
    """
    rows = np.column_stack([np.asarray(numerators, float), np.asarray(denominators, float)])
    sums = resampled_sums(rows, samples, seed)
    return percentiles(sums[:, 0] / sums[:, 1], confidence)


def percentiles(replicates: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The middle part of a statistic's replicates.

    Raises:
        ComparisonError: The confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ComparisonError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95.")
    tail = (1 - confidence) / 2
    # Between two infinite perplexities nothing can be interpolated.
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(replicates).all() else "nearest"
    low, high = np.quantile(replicates, [tail, 1 - tail], method=method)
    return Interval(float(low), float(high))


def resampled_sums(rows_NK: Floats, samples: int, seed: int) -> Floats:
    """Sums over `samples` resamples of N rows, drawn with replacement: an array of (samples, K).

    N: cases; K: numbers of each case. The same seed gives the same resamples.

    Raises:
        ComparisonError: There are no rows.
    """
    if not len(rows_NK):
        raise ComparisonError("There are no cases to resample.")
    generator = np.random.default_rng(seed)
    distinct_DK, counts_D = np.unique(rows_NK, axis=0, return_counts=True)
    if len(distinct_DK) <= MAX_DISTINCT:
        drawn_SD = generator.multinomial(len(rows_NK), counts_D / len(rows_NK), size=samples)
        return np.asarray(drawn_SD @ distinct_DK, float)
    return np.concatenate(list(_drawn(rows_NK, samples, generator)))


def _drawn(rows_NK: Floats, samples: int, generator: np.random.Generator) -> Iterator[Floats]:
    count = len(rows_NK)
    step = max(1, _CHUNK // count)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        indices_SN = generator.integers(count, size=(size, count))
        yield rows_NK[indices_SN].sum(axis=1)
