"""What is read next, and what comes into a slot next. Bookkeeping only: no threads of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from service.engine.errors import AdapterLoadError
from service.engine.lora.slots import Slot
from service.engine.request import AdapterSource
from service.engine.residency.host_copies import HostCopies
from service.engine.residency.leases import Lease
from service.engine.residency.lending import Lending
from service.engine.residency.loading import LoadedAdapter
from service.engine.residency.reading import Readers, defect

_READ_AHEAD = 8
"""Adapters that are read before there is a slot for them, at most."""


@dataclass(frozen=True)
class Filling:
    """What comes into a slot next."""

    lease: Lease
    copy: LoadedAdapter


@dataclass(frozen=True)
class Failed:
    """Some claims ended without their adapters."""


class Supply:
    """Serves claims in order of arrival; those whose files are slow to come are passed by. Called under a lock.

    Args:
        lending: who waits.
        host: what has been read.
        readers: what is being read.
        evict: takes an adapter out of its slot.
    """

    def __init__(self, lending: Lending, host: HostCopies, readers: Readers, evict: Callable[[Slot], None]) -> None:
        self._lending = lending
        self._host = host
        self._readers = readers
        self._evict = evict

    def next(self) -> Filling | Failed | None:
        """Begins to read what can be read, and says what can be done now; a slot is free then."""
        return self._read_ahead() or self._fill()

    def needed(self) -> dict[str, AdapterSource]:
        """What the oldest claims will copy from host memory.

        No more than it holds, so that no copy drives out another that is waited for. What waits for a slow read does
        not count, so that others come by.
        """
        needed: dict[str, AdapterSource] = {}
        for claim in self._lending.waiting.values():
            missing = {lease.source.digest: lease.source for lease in self._lending.missing(claim)}
            hopeless = any(self._readers.refusal(source) for source in missing.values())
            if not hopeless and any(map(self._readers.is_slow, missing)):
                continue
            if needed and len(needed | missing) > min(_READ_AHEAD, self._host.limit):
                break
            needed |= missing
        return needed

    def _read_ahead(self) -> Failed | None:
        for source in self.needed().values():
            if source.digest in self._host:
                continue
            if (error := self._readers.refusal(source) or self._begin(source)) is not None:
                self._lending.fail(source.digest, error)
                return Failed()
        return None

    def _begin(self, source: AdapterSource) -> AdapterLoadError | None:
        try:
            self._readers.begin(source)
        except RuntimeError as error:
            return defect(source, error)
        return None

    def _fill(self) -> Filling | Failed | None:
        """Of the oldest claim whose adapters have all been read, the first that is in no slot, if there is room.

        A part of a claim would only take the room of others.
        """
        for claim in self._lending.waiting.values():
            missing = self._lending.missing(claim)
            if missing and all(lease.source.digest in self._host for lease in missing):
                if (error := self._lending.misfit(claim)) is not None:
                    self._lending.end([claim], error)
                    return Failed()
                if self._lending.make_room(claim, self._evict):
                    return Filling(missing[0], self._host.use(missing[0].source.digest))
                return None
        return None
