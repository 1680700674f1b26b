"""Which adapters are in memory: loaded on first use off the engine thread, evicted when idle and oldest in use."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.engine.errors import AdapterLoadError
from service.engine.layers import LayerWeights
from service.engine.request import AdapterSource

_log = logging.getLogger(__name__)

Layers = Mapping[str, LayerWeights]
Loader = Callable[[AdapterSource], Layers]
"""Reads an adapter; raises `AdapterLoadError`."""


class Lease:
    """A request's claim on an adapter: pending until it is in memory, and it stays there until released."""

    def __init__(self, source: AdapterSource) -> None:
        self.source = source
        self.layers: Layers | None = None
        self.error: AdapterLoadError | None = None
        self.since = time.monotonic()

    @property
    def pending(self) -> bool:
        """Whether the adapter is still to come."""
        return self.layers is None and self.error is None


@dataclass
class _Resident:
    layers: Layers
    num_leases: int = 0


@dataclass
class _State:
    resident: OrderedDict[str, _Resident] = field(default_factory=OrderedDict)
    """By digest, least recently used first."""
    pending: OrderedDict[str, list[Lease]] = field(default_factory=OrderedDict)
    """Leases that wait for a load, in order of arrival."""
    draining: str | None = None
    """An adapter in memory that is lent no more, so that it becomes idle and makes room."""
    loads: int = 0
    evictions: int = 0


class Residency:
    """At most `capacity` adapters in memory. A lease is never revoked; a load waits until something is idle.

    Requests that never cease for those in memory would keep it waiting for ever. So once it is overdue, one of them
    is lent no more until the load is done.

    Args:
        load: reads one adapter; called on this object's own thread.
        capacity: adapters at once.
        on_change: called after a lease became ready or failed, without any lock held.
        patience_seconds: how long a load waits for an adapter that is idle by itself.
    """

    def __init__(
        self, load: Loader, capacity: int, on_change: Callable[[], None], patience_seconds: float = 0.5
    ) -> None:
        self._load = load
        self._capacity = capacity
        self._patience_seconds = patience_seconds
        self._on_change = on_change
        self._state = _State()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="adapter-loader", daemon=True)
        self._thread.start()

    def lease(self, source: AdapterSource) -> Lease:
        """Claims an adapter without waiting for it."""
        lease = Lease(source)
        with self._changed:
            self._drain_if_overdue()
            if source.digest in self._state.resident and source.digest != self._state.draining:
                self._grant(lease)
            else:
                self._state.pending.setdefault(source.digest, []).append(lease)
                self._changed.notify()
        return lease

    def release(self, lease: Lease) -> None:
        """Gives a claim back, granted or still pending; once per lease."""
        with self._changed:
            if lease.layers is not None:
                self._state.resident[lease.source.digest].num_leases -= 1
            elif lease.error is None:
                waiting = self._state.pending.get(lease.source.digest, [])
                if lease in waiting:
                    waiting.remove(lease)
                    if not waiting:
                        del self._state.pending[lease.source.digest]
            # Whom it was drained for may have gone.
            resumed = set(self._state.pending) <= {self._state.draining} and self._end_drain()
            self._changed.notify()
        if resumed:
            self._on_change()

    def resident(self) -> list[str]:
        """Digests in memory, least recently used first."""
        with self._changed:
            return list(self._state.resident)

    def close(self) -> None:
        """Stops loading; pending leases stay pending."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def check_integrity(self) -> None:
        """Asserts the bounds that hold at any time."""
        with self._changed:
            assert len(self._state.resident) <= self._capacity
            assert all(entry.num_leases >= 0 for entry in self._state.resident.values())
            assert all(self._state.pending.values())
            assert set(self._state.resident) & set(self._state.pending) <= {self._state.draining}

    def _run(self) -> None:
        while (source := self._next()) is not None:
            layers, error = self._read(source)
            with self._changed:
                self._end_drain()
                leases = self._state.pending.pop(source.digest, [])
                if layers is not None:
                    self._state.resident[source.digest] = _Resident(layers)
                    self._state.loads += 1
                for lease in leases:
                    if layers is None:
                        lease.error = error
                    else:
                        self._grant(lease)
            self._on_change()

    def _next(self) -> AdapterSource | None:
        with self._changed:
            while not self._closed:
                wanted = self._wanted()
                if wanted is not None and self._make_room():
                    return wanted
                self._changed.wait()
            return None

    def _wanted(self) -> AdapterSource | None:
        """What has been waited for longest; a drained adapter that is still in memory needs no load."""
        waiting = self._state.pending.items()
        return next((leases[0].source for digest, leases in waiting if digest not in self._state.resident), None)

    def _drain_if_overdue(self) -> None:
        state = self._state
        if state.draining is not None or not state.pending or len(state.resident) < self._capacity:
            return
        oldest = next(iter(state.pending.values()))[0]
        if time.monotonic() - oldest.since >= self._patience_seconds:
            state.draining = next(iter(state.resident))

    def _end_drain(self) -> bool:
        """Lends the drained adapter again if it is still there; whether that made a lease ready."""
        digest, self._state.draining = self._state.draining, None
        if digest is None or digest not in self._state.resident:
            return False
        leases = self._state.pending.pop(digest, [])
        for lease in leases:
            self._grant(lease)
        return bool(leases)

    def _make_room(self) -> bool:
        resident = self._state.resident
        if len(resident) >= self._capacity:
            idle = next((digest for digest, entry in resident.items() if entry.num_leases == 0), None)
            if idle is None:
                return False
            del resident[idle]
            self._state.evictions += 1
        return True

    def _read(self, source: AdapterSource) -> tuple[Layers | None, AdapterLoadError | None]:
        try:
            return self._load(source), None
        except AdapterLoadError as error:
            return None, error
        except Exception as error:  # noqa: BLE001 - the loader thread must outlive whatever one adapter does to it
            _log.exception("adapter %s could not be loaded", source.digest)
            return None, AdapterLoadError(f"adapter {source.digest} could not be loaded: {type(error).__name__}")

    def _grant(self, lease: Lease) -> None:
        entry = self._state.resident[lease.source.digest]
        entry.num_leases += 1
        self._state.resident.move_to_end(lease.source.digest)
        lease.layers = entry.layers
