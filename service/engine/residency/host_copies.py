"""Adapters in host memory, so that a slot is filled again without reading."""

from collections import OrderedDict
from collections.abc import Collection

from service.engine.residency.loading import LoadedAdapter


class HostCopies:
    """At most `limit` of them, least recently used first; not thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._copies: OrderedDict[str, LoadedAdapter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._copies)

    def __contains__(self, digest: str) -> bool:
        return digest in self._copies

    def use(self, digest: str) -> LoadedAdapter:
        """The copy, which becomes the one used last."""
        self._copies.move_to_end(digest)
        return self._copies[digest]

    def keep(self, digest: str, copy: LoadedAdapter, needed: Collection[str]) -> None:
        """One more; it takes the place of one that is not `needed`, of which there are at most `limit`."""
        self._copies[digest] = copy
        while len(self._copies) > self.limit:
            del self._copies[next(each for each in self._copies if each not in needed)]

    def check_integrity(self) -> None:
        """Asserts the bound."""
        assert len(self._copies) <= self.limit
