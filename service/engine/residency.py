"""Where adapters are: on disk, in host memory, in a slot. Loaded off the engine thread, evicted when idle."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from service.engine.errors import AdapterLoadError
from service.engine.loading import LoadedAdapter
from service.engine.lora.fold import FoldedAdapter
from service.engine.lora.slots import Slot
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource
from service.engine.verification import Expectation

_log = logging.getLogger(__name__)

Loader = Callable[[AdapterSource], LoadedAdapter]
"""Reads an adapter from disk; raises `AdapterLoadError`."""
Placement = Literal["device", "host", "store"]


class Device(Protocol):
    """The slots; `write` may take a while and runs beside the engine."""

    def write(self, adapter: FoldedAdapter) -> Slot:
        """Copies an adapter into a free slot."""
        ...

    def free(self, slot: Slot) -> None:
        """Gives a slot to others."""
        ...


class Lease:
    """A request's claim on an adapter: pending until it is in a slot, and it stays there until released."""

    def __init__(self, source: AdapterSource, *, pinned: bool = False) -> None:
        self.source = source
        self.pinned = pinned
        """Held without a request, so that no drain can end it."""
        self.slot: Slot | None = None
        self.expected: Expectation | None = None
        """What is known of the adapter, once it is in its slot."""
        self.error: AdapterLoadError | None = None
        self.since = time.monotonic()
        self.claim: Claim = (self,)
        """With those that it is granted together with."""

    @property
    def pending(self) -> bool:
        """Whether the adapter is still to come."""
        return self.slot is None and self.error is None


Claim = tuple[Lease, ...]
"""Leases that are granted together or not at all: two requests that each held a part of what both need would wait for
each other for ever."""


@dataclass
class _Resident:
    slot: Slot
    expected: Expectation
    num_leases: int = 0
    num_pins: int = 0
    """Of the leases."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many adapters are where."""

    device: int
    host: int
    """Copies kept in host memory, so that a slot is filled again without reading."""
    patience_seconds: float = 0.5
    """How long a load waits for an adapter that is idle by itself."""


@dataclass
class _State:
    resident: OrderedDict[str, _Resident] = field(default_factory=OrderedDict)
    """By digest, least recently used first."""
    host: OrderedDict[str, LoadedAdapter] = field(default_factory=OrderedDict)
    """By digest, least recently used first."""
    waiting: dict[int, Claim] = field(default_factory=dict)
    """By identity, in order of arrival."""
    draining: str | None = None
    """An adapter in a slot that is lent no more, so that it becomes idle and makes room."""
    loads: int = 0
    evictions: int = 0


class Residency:
    """At most `limits.device` adapters in slots. A lease is never revoked; a load waits until something is idle.

    Requests that never cease for those in slots would keep it waiting for ever. So once it is overdue, one of them is
    lent no more until the load is done.

    Args:
        load: reads one adapter; called on this object's own thread.
        device: the slots.
        limits: how many adapters are where.
        on_change: called after a lease became ready or failed, without any lock held.
        metrics: told of loads and evictions.
    """

    def __init__(
        self, load: Loader, device: Device, limits: Limits, on_change: Callable[[], None], metrics: EngineMetrics
    ) -> None:
        self._load = load
        self._device = device
        self._limits = limits
        self._on_change = on_change
        self._metrics = metrics
        self._state = _State()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="adapter-loader", daemon=True)
        self._thread.start()

    def lease(self, source: AdapterSource, *, pinned: bool = False) -> Lease:
        """Claims an adapter without waiting for it."""
        return self._claim((Lease(source, pinned=pinned),))[0]

    def lease_together(self, sources: Sequence[AdapterSource]) -> Claim:
        """Claims several adapters of one request, which will be granted at once; each is released by itself."""
        return self._claim(tuple(map(Lease, sources))) if sources else ()

    def lease_beside(self, held: Lease) -> Lease:
        """Another lease of an adapter that is held: granted even while it is drained, which waits for the holder."""
        lease = Lease(held.source)
        with self._changed:
            self._grant(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Gives a lease back, granted or not; once per lease. One that waits ends its whole claim."""
        with self._changed:
            if lease.slot is not None:
                entry = self._state.resident[lease.source.digest]
                entry.num_leases -= 1
                entry.num_pins -= lease.pinned
            else:
                self._state.waiting.pop(id(lease.claim), None)
            # Whom it was drained for may have gone.
            resumed = next(self._missing(), None) is None and self._end_drain()
            self._changed.notify()
        if resumed:
            self._on_change()

    def placement(self, digest: str) -> Placement:
        """Where the adapter can be had from now."""
        with self._changed:
            if digest in self._state.resident:
                return "device"
            return "host" if digest in self._state.host else "store"

    def resident(self) -> list[str]:
        """Digests in slots, least recently used first."""
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
            state = self._state
            assert len(state.resident) <= self._limits.device
            assert len(state.host) <= self._limits.host
            assert all(entry.num_leases >= entry.num_pins >= 0 for entry in state.resident.values())
            assert len({(entry.slot.rank, entry.slot.index) for entry in state.resident.values()}) == len(
                state.resident
            )
            assert all(lease.pending for claim in state.waiting.values() for lease in claim)
            assert not any(self._grantable(claim) for claim in state.waiting.values())

    def _run(self) -> None:
        # Its copies run beside the engine's products: one thread, so that it does not take all cores from them.
        # Asked first, because a thread's first look sets its number to the last one that any thread set.
        torch.get_num_threads()
        torch.set_num_threads(1)
        while (source := self._next()) is not None:
            start = time.perf_counter()
            try:
                placed = self._load_into_slot(source)
            except AdapterLoadError as error:
                self._fail(source, error)
            except Exception as error:  # noqa: BLE001 - the loader thread must outlive whatever one adapter does to it
                _log.exception("adapter %s could not be loaded", source.digest)
                text = f"adapter {source.label} could not be loaded: {type(error).__name__}"
                self._fail(source, AdapterLoadError(text))
            else:
                if placed is not None:
                    self._settle(source, _Resident(*placed))
                    self._metrics.adapter_loaded(time.perf_counter() - start)
            self._on_change()

    def _next(self) -> AdapterSource | None:
        """What has been waited for longest; a drained adapter that is still in a slot needs no load."""
        with self._changed:
            while not self._closed:
                if (lease := next(self._missing(), None)) is not None:
                    return lease.source
                self._changed.wait()
            return None

    def _missing(self) -> Iterator[Lease]:
        """Leases whose adapters are in no slot, the oldest claim's first."""
        for claim in self._state.waiting.values():
            yield from (lease for lease in claim if lease.source.digest not in self._state.resident)

    def _load_into_slot(self, source: AdapterSource) -> tuple[Slot, Expectation] | None:
        """None if nobody wants it any more."""
        adapter = self._read(source)
        if not self._make_room(source):
            return None
        return self._device.write(adapter.folded), adapter.expected

    def _read(self, source: AdapterSource) -> LoadedAdapter:
        with self._changed:
            if (kept := self._state.host.get(source.digest)) is not None:
                self._state.host.move_to_end(source.digest)
                return kept
        adapter = self._load(source)
        with self._changed:
            self._state.host[source.digest] = adapter
            while len(self._state.host) > self._limits.host:
                self._state.host.popitem(last=False)
        return adapter

    def _make_room(self, source: AdapterSource) -> bool:
        """Waits until a slot is free, evicting the adapter that has been idle longest; false once nobody wants it."""
        with self._changed:
            while not self._closed and (claim := self._wanting(source)) is not None:
                if len(self._state.resident) < self._limits.device:
                    return True
                together = {lease.source.digest for lease in claim}
                resident = self._state.resident.items()
                idle = next((key for key, entry in resident if not entry.num_leases and key not in together), None)
                if (error := self._misfit(together)) is not None:
                    self._end_claim(claim, error)
                elif idle is not None:
                    self._device.free(self._state.resident.pop(idle).slot)
                    self._state.evictions += 1
                    self._metrics.adapter_evicted()
                else:
                    self._changed.wait()
            return False

    def _wanting(self, source: AdapterSource) -> Claim | None:
        """The oldest claim that waits for the adapter."""
        return next((claim for claim in self._state.waiting.values() if _holds(claim, source)), None)

    def _misfit(self, together: set[str]) -> AdapterLoadError | None:
        """Why these adapters will never be in slots at once."""
        pinned = {digest for digest, entry in self._state.resident.items() if entry.num_pins}
        if len(pinned | together) <= self._limits.device:
            return None
        return AdapterLoadError(
            f"{len(together)} adapters are asked for together, but of the {self._limits.device} on the device "
            f"(max_loras) {len(pinned)} are pinned; unpin some, or ask for fewer"
        )

    def _settle(self, source: AdapterSource, entry: _Resident) -> None:
        """Grants what waited for this adapter."""
        with self._changed:
            self._state.resident[source.digest] = entry
            self._state.loads += 1
            self._end_drain()
            self._metrics.resident(len(self._state.resident), len(self._state.host))

    def _fail(self, source: AdapterSource, error: AdapterLoadError) -> None:
        """Ends the claims that waited for this adapter."""
        with self._changed:
            for claim in [claim for claim in self._state.waiting.values() if _holds(claim, source)]:
                self._end_claim(claim, error)
            self._end_drain()

    def _end_claim(self, claim: Claim, error: AdapterLoadError) -> None:
        del self._state.waiting[id(claim)]
        for lease in claim:
            lease.error = error

    def _drain_if_overdue(self) -> None:
        state = self._state
        oldest = next(self._missing(), None)
        if state.draining is not None or oldest is None or len(state.resident) < self._limits.device:
            return
        if time.monotonic() - oldest.since >= self._limits.patience_seconds:
            together = {lease.source.digest for lease in oldest.claim}
            state.draining = next(
                (key for key, entry in state.resident.items() if not entry.num_pins and key not in together), None
            )

    def _end_drain(self) -> bool:
        """Lends all that is in slots; whether that made a lease ready."""
        self._state.draining = None
        ready = [claim for claim in self._state.waiting.values() if self._grantable(claim)]
        for claim in ready:
            del self._state.waiting[id(claim)]
            self._grant_all(claim)
        return bool(ready)

    def _claim(self, claim: Claim) -> Claim:
        with self._changed:
            for lease in claim:
                lease.claim = claim
            self._drain_if_overdue()
            if self._grantable(claim):
                self._grant_all(claim)
            else:
                self._state.waiting[id(claim)] = claim
                self._changed.notify()
        return claim

    def _grantable(self, claim: Claim) -> bool:
        lent = self._state.resident.keys() - {self._state.draining}
        return all(lease.source.digest in lent for lease in claim)

    def _grant_all(self, claim: Claim) -> None:
        for lease in claim:
            self._grant(lease)

    def _grant(self, lease: Lease) -> None:
        entry = self._state.resident[lease.source.digest]
        entry.num_leases += 1
        entry.num_pins += lease.pinned
        self._state.resident.move_to_end(lease.source.digest)
        lease.expected = entry.expected
        lease.slot = entry.slot


def _holds(claim: Claim, source: AdapterSource) -> bool:
    return any(lease.source.digest == source.digest for lease in claim)
