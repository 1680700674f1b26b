"""Adapters that stay in their slots without a request, because the operator said so."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from service.engine.errors import AdapterLoadError, EngineError, TooManyPinsError
from service.engine.request import AdapterSource
from service.engine.residency.leases import Lease
from service.engine.residency.residency import Residency


class Verdicts(Protocol):
    """What is known of adapters that were checked in their slots."""

    def sound(self, digest: str) -> bool:
        """Whether the adapter may answer."""
        ...

    def error(self, digest: str) -> AdapterLoadError | None:
        """What is wrong with it, if that is known."""
        ...


class Pins:
    """Leases held for the operator; at least one slot stays free of them.

    A pin is answered once its adapter has been checked: one that will refuse every request is no success. The engine's
    thread checks and settles, others pin and unpin.

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
        """Brings an adapter into a slot and keeps it there; done when it may answer, failed when it never will.

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

    def unanswered(self) -> list[Lease]:
        """Of pins whose callers still wait."""
        with self._lock:
            return [lease for _, lease in self._waiting]

    def settle(self, verdicts: Verdicts) -> None:
        """Answers the pins whose adapters may answer, and ends those whose adapters never will."""
        with self._lock:
            settled = [pair for pair in self._waiting if _is_settled(pair[1], verdicts)]
            self._waiting = [pair for pair in self._waiting if pair not in settled]
            broken = {lease.source.digest: lease for _, lease in settled if _error(lease, verdicts) is not None}
            for digest in broken:
                del self._leases[digest]
        for lease in broken.values():
            self._residency.release(lease)
        for future, lease in settled:
            if (error := _error(lease, verdicts)) is not None:
                _fail([future], error)
            elif future.set_running_or_notify_cancel():
                future.set_result(None)

    def fail(self, error: EngineError) -> None:
        """Answers all that still wait: nothing will be loaded any more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        _fail([future for future, _ in waiting], error)


def _error(lease: Lease, verdicts: Verdicts) -> AdapterLoadError | None:
    return lease.error or verdicts.error(lease.source.digest)


def _is_settled(lease: Lease, verdicts: Verdicts) -> bool:
    in_slot_and_sound = lease.slot is not None and verdicts.sound(lease.source.digest)
    return in_slot_and_sound or _error(lease, verdicts) is not None


def _fail(futures: Sequence["Future[None]"], error: EngineError) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
