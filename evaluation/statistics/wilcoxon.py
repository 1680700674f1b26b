"""Wilcoxon's signed-rank test (1945), exact also with ties: for numbers of cases that are too small for a bootstrap."""

from collections.abc import Sequence
from fractions import Fraction


def wilcoxon(differences: Sequence[float]) -> float:
    """Return the two-sided p-value that the differences lie symmetrically around 0; zeros are dropped.

    The distribution is counted over all 2^n signs of the mid-ranks, so the work grows as n cubed.
    """
    moved = [value for value in differences if value != 0]
    ranks = _doubled_ranks([abs(value) for value in moved])
    positive = sum(rank for rank, value in zip(ranks, moved, strict=True) if value > 0)
    ways = _ways(ranks)
    smaller = min(positive, sum(ranks) - positive)
    return min(1.0, float(Fraction(2 * sum(ways[: smaller + 1]), 1 << len(ranks))))


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the mid-ranks, which are whole numbers."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered, start=1)))}
    last = {value: place for place, value in enumerate(ordered, start=1)}
    return [first[value] + last[value] for value in values]


def _ways(ranks: Sequence[int]) -> list[int]:
    """How many choices of signs give each sum of positive ranks."""
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return ways
