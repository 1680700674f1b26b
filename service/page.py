"""A part of a longer list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Order = Literal["asc", "desc"]
"""By creation: the oldest first, or the newest."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Items in order, and whether more follow; the id of the last one is the cursor of the next page."""

    data: list[T]
    has_more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int) -> "Page[T]":
        """The first `limit` of what a query for one more has found."""
        return cls(data=list(found[:limit]), has_more=len(found) > limit)
