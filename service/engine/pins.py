"""Adapters that stay in their slots without a request, because the operator said so."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from service.engine.errors import AdapterLoadError, EngineError, TooManyPinsError
from service.engine.request import AdapterSource
from service.engine.residency import Lease, Residency


class Pins:
    """Leases held for the operator; at least one slot stays free of them.

    Args:
        residency: where the adapters are.
        max_pins: at once.
    """

    def __init__(self, residency: Residency, max_pins: int) -> None:
        self._residency = residency
        self._max_pins = max_pins
        self._leases: dict[str, Lease] = {}
        self._waiting: list[tuple[Future[None], Lease]] = []
        self._lock = threading.Lock()

    def pin(self, source: AdapterSource) -> "Future[None]":
        """Brings an adapter into a slot and keeps it there; done when it is there, failed when it cannot be.

        Raises:
            TooManyPinsError: pinned adapters would take the last slot.
        """
        future: Future[None] = Future()
        with self._lock:
            lease = self._leases.get(source.digest)
            if lease is None:
                if len(self._leases) >= self._max_pins:
                    raise TooManyPinsError(len(self._leases), self._max_pins)
                lease = self._leases[source.digest] = self._residency.lease(source, pinned=True)
            self._waiting.append((future, lease))
        self.settle()
        return future

    def unpin(self, digest: str) -> bool:
        """Lets an adapter go when others need the room; whether it was pinned. A pin under way fails."""
        with self._lock:
            lease = self._leases.pop(digest, None)
            given_up = [future for future, waiting in self._waiting if waiting is lease]
            self._waiting = [pair for pair in self._waiting if pair[1] is not lease]
        if lease is None:
            return False
        self._residency.release(lease)
        _fail(given_up, AdapterLoadError(f"adapter {lease.source.label} was unpinned before it had been loaded"))
        return True

    def pinned(self) -> list[str]:
        """Digests."""
        with self._lock:
            return list(self._leases)

    def settle(self) -> None:
        """Answers the pins whose adapters have come, or cannot come."""
        with self._lock:
            done = [pair for pair in self._waiting if not pair[1].pending]
            self._waiting = [pair for pair in self._waiting if pair[1].pending]
            for _, lease in done:
                if lease.error is not None and self._leases.get(lease.source.digest) is lease:
                    del self._leases[lease.source.digest]
        for future, lease in done:
            if not future.set_running_or_notify_cancel():
                continue
            if lease.error is not None:
                future.set_exception(lease.error)
            else:
                future.set_result(None)

    def fail(self, error: EngineError) -> None:
        """Answers all that still wait: nothing will be loaded any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        _fail([future for future, _ in waiting], error)


def _fail(futures: Sequence["Future[None]"], error: EngineError) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
