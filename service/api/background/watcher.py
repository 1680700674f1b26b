"""A thread that looks for something to do: every so often, and at once when it is woken."""

import logging
import threading
from collections.abc import Callable

from storage.errors import StorageUnavailableError

_log = logging.getLogger(__name__)


class Watcher:
    """Looks until it is closed; nothing that a look raises ends it.

    Args:
        name: of the thread; said in the log.
        look: done over and over, never twice at once.
        seconds: between two looks.
    """

    def __init__(self, name: str, look: Callable[[], None], *, seconds: float) -> None:
        self._name = name
        self._look = look
        self._seconds = seconds
        self._woken, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watching, name=name, daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def wake(self) -> None:
        """There is something: no need to wait for the next look."""
        self._woken.set()

    def close(self) -> None:
        """Looks no more; a look that is under way goes on."""
        self._closed.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Waits until the last look is over, but no longer than so many seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _watching(self) -> None:
        while not self._closed.is_set():
            self._woken.wait(self._seconds)
            self._woken.clear()
            if self._closed.is_set():
                return
            try:
                self._look()
            except StorageUnavailableError as error:
                # Leases have seconds left, and the next look may find the database again.
                _log.warning("%s could not be looked for: %s", self._name, error)
            except Exception:  # noqa: BLE001 - logged, and looked for again
                # One row that cannot be read must not end the work on all others.
                _log.exception("%s could not be looked for", self._name)
