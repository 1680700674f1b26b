"""McNemar's exact test: do two models get different numbers of cases right?"""

import math
from collections.abc import Sequence
from fractions import Fraction


def mcnemar(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the two-sided p-value of paired 0/1 scores (McNemar 1947, in its exact, binomial form).

    Only the cases count on which the models differ; if both are equally good, each such case is a coin toss.
    """
    gained = sum(new > old for old, new in zip(before, after, strict=True))
    lost = sum(new < old for old, new in zip(before, after, strict=True))
    discordant = gained + lost
    tail = sum(math.comb(discordant, count) for count in range(min(gained, lost) + 1))
    return min(1.0, float(Fraction(2 * tail, 1 << discordant)))
