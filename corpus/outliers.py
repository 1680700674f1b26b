"""Values far from the rest, by statistics that the outliers themselves do not move."""

import math
from collections.abc import Sequence
from statistics import median

MIN_VALUES = 20
THRESHOLD = 5.0
"""Modified z-score. Iglewicz and Hoaglin (1993) take 3.5; lengths of texts have longer tails."""
MIN_FACTOR = 4.0
"""And at least so many times above or below the median: among equal lengths one word more is no outlier."""
_CONSISTENCY = 0.6745
"""The median absolute deviation of a normal distribution, in standard deviations."""


def length_outliers(lengths: Sequence[int]) -> list[int]:
    """Find outlying lengths on a logarithmic scale, where lengths of texts are nearly normal.

    Returns:
        Positions, the farthest from the median first; none where there are few values.
    """
    if len(lengths) < MIN_VALUES:
        return []
    logs = [math.log1p(length) for length in lengths]
    centre = median(logs)
    deviation = median(abs(value - centre) for value in logs)
    far = max(THRESHOLD * deviation / _CONSISTENCY, math.log(MIN_FACTOR))
    found = [position for position, value in enumerate(logs) if abs(value - centre) > far]
    return sorted(found, key=lambda position: -abs(logs[position] - centre))
