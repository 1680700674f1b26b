"""Requests that wait, in a fair order: by arrival within a tenant, across tenants by least service received.

Service is a count of tokens (the virtual token counter of S-LoRA's authors, arXiv:2401.00588, algorithm 2): a tenant
that comes back after a pause is lifted to the least counter among those who wait, so that idle time earns nothing.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heapreplace
from math import inf
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What can stand in the queue; told apart by identity."""

    @property
    def tenant(self) -> str:
        """Whose share of the service it takes."""

    @property
    def arrival(self) -> float:
        """In seconds, by any clock."""


T = TypeVar("T", bound=Waiting)


class WaitingQueue(Generic[T]):
    """The items of all tenants; not thread-safe, one engine owns it.

    The engine goes through `candidates`. For each it calls `remove` (the item runs now), or `skip` (it is ready, but
    there is no room for it), or neither (it is not ready). A later candidate may fit where an earlier one did not, but
    nobody starves of it: who has been overtaken so for `patience_seconds` goes before everybody else.
    """

    def __init__(self, patience_seconds: float = 5.0) -> None:
        self.patience_seconds = patience_seconds
        self._lines: dict[str, OrderedDict[int, T]] = {}
        """Of tenants who wait, by identity of the item."""
        self._counters: defaultdict[str, float] = defaultdict(float)
        self._last_tenant: str | None = None
        """Whose line was the last to end."""
        self._skipped: dict[int, tuple[T, float]] = {}
        """What did not fit in this pass over the candidates, and when."""
        self._overtaken: dict[int, tuple[T, float]] = {}
        """What did not fit while a later candidate did, and since when."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[T]:
        """All items, tenant by tenant."""
        for line in self._lines.values():
            yield from line.values()

    def __contains__(self, item: T) -> bool:
        return id(item) in self._lines.get(item.tenant, ())

    def push(self, item: T) -> None:
        """A new item stands behind its tenant's others."""
        if item.tenant not in self._lines:
            self._lift(item.tenant)
        self._line(item)[id(item)] = item

    def push_front(self, item: T) -> None:
        """An item that ran and lost its place stands before its tenant's others."""
        line = self._line(item)
        line[id(item)] = item
        line.move_to_end(id(item), last=False)

    def charge(self, tenant: str, tokens: float) -> None:
        """The tenant is given so much service; called within a pass it counts for the rest of the pass."""
        self._counters[tenant] += tokens

    def candidates(self, now: float) -> Iterator[T]:
        """A pass over the items that may run, fairest first; the queue may change meanwhile.

        An overdue item comes first. Skipped again, it is the only one: what runs ends, and leaves its room to it. If
        it is not ready, those that arrived before it follow.
        """
        self._skipped.clear()
        while (barrier := self.overdue(now)) is not None:
            yield barrier
            if id(barrier) in self._skipped:
                return
            if barrier in self:
                break
        latest = inf if barrier is None else barrier.arrival
        yield from self._in_fair_order(lambda item: item.arrival <= latest and item is not barrier)

    def skip(self, item: T, now: float) -> None:
        """The candidate is ready, but there is no room for it now."""
        self._skipped[id(item)] = item, now

    def remove(self, item: T) -> None:
        """The candidate runs now, and overtakes what was skipped in this pass."""
        self._take_out(item)
        self._overtaken = self._skipped | self._overtaken

    def overdue(self, now: float) -> T | None:
        """The earliest arrival among the items that have been overtaken for longer than `patience_seconds`."""
        late = [item for item, since in self._overtaken.values() if now - since > self.patience_seconds]
        return min(late, key=lambda item: item.arrival, default=None)

    def drop(self, predicate: Callable[[T], bool]) -> list[T]:
        """Takes out all items for which the predicate holds; nobody is overtaken by it."""
        dropped = [item for item in self if predicate(item)]
        for item in dropped:
            self._take_out(item)
        return dropped

    def check_integrity(self) -> None:
        """Lines hold their tenants' items, and marks are of items that wait.

        Raises:
            AssertionError: they do not.
        """
        for tenant, line in self._lines.items():
            assert line
            assert all(item.tenant == tenant and key == id(item) for key, item in line.items())
        for marks in (self._skipped, self._overtaken):
            assert all(item in self and key == id(item) for key, (item, _) in marks.items())

    def _in_fair_order(self, allowed: Callable[[T], bool]) -> Iterator[T]:
        lines = [deque(filter(allowed, line.values())) for line in self._lines.values()]
        heap = [self._rank(line, number) for number, line in enumerate(lines) if line]
        heapify(heap)
        while heap:
            number = heap[0][-1]
            line = lines[number]
            # Counters only grow, so an outdated rank is too good: it surfaces here and is put right.
            if (rank := self._rank(line, number)) != heap[0]:
                heapreplace(heap, rank)
                continue
            item = line.popleft()
            if line:
                heapreplace(heap, self._rank(line, number))
            else:
                heappop(heap)
            if item in self:
                yield item

    def _rank(self, line: deque[T], number: int) -> tuple[float, float, int]:
        return self._counters[line[0].tenant], line[0].arrival, number

    def _lift(self, tenant: str) -> None:
        waiting = self._lines or ([] if self._last_tenant is None else [self._last_tenant])
        least = min((self._counters[other] for other in waiting), default=0.0)
        self._counters[tenant] = max(self._counters[tenant], least)

    def _line(self, item: T) -> OrderedDict[int, T]:
        assert item not in self
        return self._lines.setdefault(item.tenant, OrderedDict())

    def _take_out(self, item: T) -> None:
        line = self._lines[item.tenant]
        del line[id(item)]
        if not line:
            del self._lines[item.tenant]
            self._last_tenant = item.tenant
        self._skipped.pop(id(item), None)
        self._overtaken.pop(id(item), None)
