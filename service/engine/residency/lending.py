"""Which adapter is in which slot, who holds it, and who waits for it. Bookkeeping only: no threads, no weights."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.engine.errors import AdapterLoadError
from service.engine.lora.slots import Slot
from service.engine.residency.leases import Claim, Lease, digests
from service.engine.residency.verification import Expectation


@dataclass
class Resident:
    """An adapter in its slot."""

    slot: Slot
    expected: Expectation
    num_leases: int = 0
    num_pins: int = 0
    """Of the leases."""


class Lending:
    """At most `num_slots` adapters, lent to those who claim them. A lease is never revoked.

    Not thread-safe: `Residency` calls it under its lock.

    Args:
        num_slots: adapters at once.
        patience_seconds: how long a claim waits for an adapter that is idle by itself. Requests that never cease for
            those in slots would keep it waiting for ever, so then one of them is lent no more until it is idle.
    """

    def __init__(self, num_slots: int, patience_seconds: float) -> None:
        self._num_slots = num_slots
        self._patience_seconds = patience_seconds
        self.resident: OrderedDict[str, Resident] = OrderedDict()
        """By digest, least recently used first."""
        self.waiting: dict[int, Claim] = {}
        """By identity, in order of arrival."""
        self._draining: str | None = None

    def claim(self, claim: Claim) -> None:
        """Grants the claim, or lets it wait."""
        for lease in claim:
            lease.claim = claim
        self._drain_if_overdue()
        if self._grantable(claim):
            self._grant_all(claim)
        else:
            self.waiting[id(claim)] = claim

    def grant(self, lease: Lease) -> None:
        """Lends what is in its slot, drained or not."""
        entry = self.resident[lease.source.digest]
        entry.num_leases += 1
        entry.num_pins += lease.pinned
        self.resident.move_to_end(lease.source.digest)
        lease.expected = entry.expected
        lease.slot = entry.slot

    def release(self, lease: Lease) -> bool:
        """Takes a lease back, or the claim that it waits with; whether others became ready by that."""
        if lease.slot is not None:
            entry = self.resident[lease.source.digest]
            entry.num_leases -= 1
            entry.num_pins -= lease.pinned
        else:
            self.waiting.pop(id(lease.claim), None)
        # Whom it was drained for may have gone.
        return next(self._missing(), None) is None and self._end_drain()

    def missing(self, claim: Claim) -> list[Lease]:
        """Those of the claim's leases whose adapters are in no slot; one that is drained is still in its own."""
        return [lease for lease in claim if lease.source.digest not in self.resident]

    def in_use(self) -> set[str]:
        """Digests that somebody holds or waits for."""
        held = {digest for digest, entry in self.resident.items() if entry.num_leases}
        return held | {lease.source.digest for claim in self.waiting.values() for lease in claim}

    def settle(self, digest: str, slot: Slot, expected: Expectation) -> None:
        """The adapter is in its slot; grants what waited for it."""
        self.resident[digest] = Resident(slot, expected)
        self._end_drain()

    def fail(self, digest: str, error: AdapterLoadError) -> None:
        """Ends the claims that wait for the adapter."""
        self.end([claim for claim in self.waiting.values() if digest in digests(claim)], error)

    def end(self, claims: list[Claim], error: AdapterLoadError) -> None:
        """Ends claims that wait."""
        for claim in claims:
            del self.waiting[id(claim)]
            for lease in claim:
                lease.error = error
        self._end_drain()

    def make_room(self, claim: Claim, free: Callable[[Slot], None]) -> bool:
        """Whether a slot is free for one more of the claim's adapters; evicts what has been idle longest if need be."""
        if len(self.resident) < self._num_slots:
            return True
        together = digests(claim)
        idle = (key for key, entry in self.resident.items() if not entry.num_leases and key not in together)
        if (evicted := next(idle, None)) is None:
            return False
        free(self.resident.pop(evicted).slot)
        return True

    def misfit(self, claim: Claim) -> AdapterLoadError | None:
        """Why the claim's adapters will never be in slots at once."""
        together = digests(claim)
        pinned = {digest for digest, entry in self.resident.items() if entry.num_pins}
        if len(pinned | together) <= self._num_slots:
            return None
        return AdapterLoadError(
            f"{len(together)} adapters are asked for together, but of the {self._num_slots} on the device "
            f"(max_loras) {len(pinned)} are pinned; unpin some, or ask for fewer"
        )

    def check_integrity(self) -> None:
        """Asserts what holds between calls."""
        slots = {(entry.slot.rank, entry.slot.index) for entry in self.resident.values()}
        assert len(slots) == len(self.resident) <= self._num_slots
        assert all(entry.num_leases >= entry.num_pins >= 0 for entry in self.resident.values())
        assert all(lease.pending for claim in self.waiting.values() for lease in claim)
        assert not any(self._grantable(claim) for claim in self.waiting.values())

    def _missing(self) -> Iterator[Lease]:
        for claim in self.waiting.values():
            yield from self.missing(claim)

    def _drain_if_overdue(self) -> None:
        oldest = next(self._missing(), None)
        if self._draining is not None or oldest is None or len(self.resident) < self._num_slots:
            return
        if time.monotonic() - oldest.since >= self._patience_seconds:
            together = digests(oldest.claim)
            unpinned = (key for key, entry in self.resident.items() if not entry.num_pins and key not in together)
            self._draining = next(unpinned, None)

    def _end_drain(self) -> bool:
        """Lends all that is in slots; whether that made a lease ready."""
        self._draining = None
        ready = [claim for claim in self.waiting.values() if self._grantable(claim)]
        for claim in ready:
            del self.waiting[id(claim)]
            self._grant_all(claim)
        return bool(ready)

    def _grantable(self, claim: Claim) -> bool:
        return all(lease.source.digest in self.resident and lease.source.digest != self._draining for lease in claim)

    def _grant_all(self, claim: Claim) -> None:
        for lease in claim:
            self.grant(lease)
