"""What a request holds of an adapter, from the moment it asks."""

import time

from service.engine.errors import AdapterLoadError
from service.engine.lora.slots import Slot
from service.engine.request import AdapterSource
from service.engine.residency.verification import Expectation


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


def digests(claim: Claim) -> set[str]:
    """Of the adapters that are claimed."""
    return {lease.source.digest for lease in claim}
