"""Where adapters are: on disk, in host memory, in a slot. Loaded off the engine thread, evicted when idle."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from service.engine.errors import AdapterLoadError
from service.engine.lora.fold import FoldedAdapter
from service.engine.lora.slots import Slot
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource
from service.engine.residency.background import compute_alone
from service.engine.residency.host_copies import HostCopies
from service.engine.residency.leases import Claim, Lease
from service.engine.residency.lending import Lending
from service.engine.residency.reading import Loader, Outcome, Readers, ReadLimits, defect
from service.engine.residency.supply import Failed, Filling, Supply

_log = logging.getLogger(__name__)

Placement = Literal["device", "host", "store"]
_CLOSING_SECONDS = 5.0


class Device(Protocol):
    """The slots; `write` may take a while and runs beside the engine."""

    def write(self, adapter: FoldedAdapter) -> Slot:
        """Copies an adapter into a free slot."""
        ...

    def free(self, slot: Slot) -> None:
        """Gives a slot to others."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many adapters are where."""

    device: int
    host: int
    """Copies kept in host memory; at least as many as on the device."""
    patience_seconds: float = 0.5
    """How long a load waits for an adapter that is idle by itself."""
    reads: ReadLimits = field(default_factory=ReadLimits)


class Residency:
    """At most `limits.device` adapters in slots; those that are claimed are read and brought there in order of arrival.

    Reading takes threads that may hang (`reading`), and filling slots one that cannot. Who waits for what is in
    `lending`, and what comes next in `supply`.

    Args:
        load: reads one adapter; called on threads of this object.
        device: the slots.
        limits: how many adapters are where.
        on_change: called after a lease became ready or failed, without any lock held.
        metrics: told of loads and evictions.
    """

    def __init__(
        self, load: Loader, device: Device, limits: Limits, on_change: Callable[[], None], metrics: EngineMetrics
    ) -> None:
        assert limits.host >= limits.device
        self._device = device
        self._limits = limits
        self._on_change = on_change
        self._metrics = metrics
        self._lending = Lending(limits.device, limits.patience_seconds)
        self._host = HostCopies(limits.host)
        self._readers = Readers(load, limits.reads, self._read)
        self._supply = Supply(self._lending, self._host, self._readers, self._evict)
        self._changed = threading.Condition()
        self._closed = False
        self.num_loads = 0
        self.num_evictions = 0
        self._thread = threading.Thread(target=self._run, name="adapter-loader", daemon=True)
        self._thread.start()

    def lease(self, source: AdapterSource, *, pinned: bool = False) -> Lease:
        """Claims an adapter without waiting for it."""
        return self._claim((Lease(source, pinned=pinned),))[0]

    def lease_together(self, sources: Sequence[AdapterSource]) -> Claim:
        """Claims several adapters of one request, which will be granted at once; each is released by itself."""
        return self._claim(tuple(map(Lease, sources))) if sources else ()

    def lease_beside(self, held: Lease) -> Lease | None:
        """Another lease of an adapter that is held: granted even while it is drained, which waits for the holder.

        None where the holder has just let it go.
        """
        lease = Lease(held.source)
        with self._changed:
            if held.source.digest not in self._lending.resident:
                return None
            self._lending.grant(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Gives a lease back, granted or not; once per lease. One that waits ends its whole claim."""
        with self._changed:
            resumed = self._lending.release(lease)
            self._changed.notify()
        if resumed:
            self._on_change()

    def placement(self, digest: str) -> Placement:
        """Where the adapter can be had from now."""
        with self._changed:
            if digest in self._lending.resident:
                return "device"
            return "host" if digest in self._host else "store"

    def resident(self) -> list[str]:
        """Digests in slots, least recently used first."""
        with self._changed:
            return list(self._lending.resident)

    def in_use(self) -> set[str]:
        """Digests that a request or a pin holds or waits for."""
        with self._changed:
            return self._lending.in_use()

    def close(self) -> None:
        """Stops loading; pending leases stay pending, and a read that hangs is left behind."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            threads = [self._thread, *self._readers.threads]
        deadline = time.monotonic() + _CLOSING_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if num_left := sum(thread.is_alive() for thread in threads):
            _log.warning(
                "%d threads that load adapters have not ended; they are left to the end of the process", num_left
            )

    def check_integrity(self) -> None:
        """Asserts the bounds that hold at any time."""
        with self._changed:
            self._lending.check_integrity()
            self._host.check_integrity()

    def _claim(self, claim: Claim) -> Claim:
        with self._changed:
            self._lending.claim(claim)
            self._changed.notify()
        return claim

    def _read(self, source: AdapterSource, outcome: Outcome) -> None:
        """A read is over."""
        with self._changed:
            self._readers.end(source)
            if isinstance(outcome, AdapterLoadError):
                self._lending.fail(source.digest, outcome)
            else:
                self._host.keep(source.digest, outcome, self._supply.needed())
            self._changed.notify()
        if isinstance(outcome, AdapterLoadError):
            self._on_change()

    def _run(self) -> None:
        compute_alone()
        while (news := self._next()) is not None:
            if isinstance(news, Filling):
                self._fill(news)
            self._on_change()

    def _next(self) -> Filling | Failed | None:
        """Waits for an adapter that can be copied into a slot now, or for claims that failed; none at the end."""
        with self._changed:
            while not self._closed:
                if (news := self._supply.next()) is not None:
                    return news
                self._changed.wait(self._readers.seconds_left)
            return None

    def _fill(self, filling: Filling) -> None:
        """Nothing else takes slots, so that there is room."""
        source = filling.lease.source
        try:
            slot = self._device.write(filling.copy.folded)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one adapter does to the device
            with self._changed:
                self._lending.fail(source.digest, defect(source, error))
            return
        with self._changed:
            self._lending.settle(source.digest, slot, filling.copy.expected)
            self.num_loads += 1
            self._metrics.resident(len(self._lending.resident), len(self._host))
        self._metrics.adapter_loaded(time.monotonic() - filling.lease.since)

    def _evict(self, slot: Slot) -> None:
        self._device.free(slot)
        self.num_evictions += 1
        self._metrics.adapter_evicted()
