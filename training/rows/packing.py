"""Rows into packs of a token budget: best fit, the longest first."""

import bisect
from collections.abc import Sequence


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Which items share a pack, so that the lengths in a pack sum to at most `budget` and packs are few.

    Best-fit decreasing (Johnson 1974): each item goes where it leaves the least room, at most 22% more packs than
    needed. An item longer than the budget has a pack of its own. The same lengths give the same packs.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []
    """What is left in each pack and the pack's number, in order."""
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        at = bisect.bisect_left(room, (lengths[item], -1))
        if at == len(room):
            packs.append([item])
            left, number = budget - lengths[item], len(packs) - 1
        else:
            left, number = room.pop(at)
            packs[number].append(item)
            left -= lengths[item]
        bisect.insort(room, (left, number))
    return packs
