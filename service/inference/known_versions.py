"""References that meant something a moment ago, for the time in which the registry's database is away."""

import threading
import time
from collections import OrderedDict

from adapters.errors import AdapterError
from adapters.registry import Registry
from adapters.version import Version
from storage.errors import StorageUnavailableError

MAX_KNOWN = 10_000
RETRY_SECONDS = 1.0
"""A database that is away is asked so often, so that not every request waits for it."""


class KnownVersions:
    """Resolves references, and remembers what they meant: versions never change.

    So what is in memory goes on answering. While the registry answers, its answer counts, and a moved alias is seen at
    once. Thread-safe.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: OrderedDict[tuple[str, str], Version] = OrderedDict()
        self._lock = threading.Lock()
        self._retry_at = 0.0

    def resolve(self, tenant: str, reference: str) -> Version:
        """See `Registry.resolve`; what was resolved before is also known while the database is away.

        Raises:
            AdapterError: the reference means nothing.
            StorageUnavailableError: the database is away, and the reference was not resolved before.
        """
        key = tenant, reference
        with self._lock:
            known = self._known.get(key)
        if known is not None and time.monotonic() < self._retry_at:
            return known
        try:
            version = self._registry.resolve(tenant, reference)
        except StorageUnavailableError:
            if known is None:
                raise
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return known
        except AdapterError:
            with self._lock:
                self._known.pop(key, None)
            raise
        self._remember(key, version)
        return version

    def _remember(self, key: tuple[str, str], version: Version) -> None:
        self._retry_at = 0.0
        with self._lock:
            self._known[key] = version
            self._known.move_to_end(key)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
