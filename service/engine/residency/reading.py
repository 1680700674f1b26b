"""Adapters being read from disk, each on a thread of its own, so that one that hangs holds nobody up."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.errors import AdapterLoadError
from service.engine.request import AdapterSource
from service.engine.residency.background import compute_alone
from service.engine.residency.loading import LoadedAdapter

_log = logging.getLogger(__name__)

Loader = Callable[[AdapterSource], LoadedAdapter]
"""Reads an adapter from disk; raises `AdapterLoadError`."""
Outcome = LoadedAdapter | AdapterLoadError


@dataclass(frozen=True, kw_only=True)
class ReadLimits:
    """How much is read at once, and for how long."""

    concurrent: int = 2
    """Reads that may take the processor's time; more would take it from the engine."""
    slow_seconds: float = 2
    """After which a read waits for its disk rather than for the processor, and another may begin."""
    timeout_seconds: float = 60
    """After which those who wait for a read are told that it failed."""
    threads: int = 32
    """Reads at all, slow ones included."""


class _Read:
    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.since = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


class Readers:
    """Reads under way. `Residency` calls every method under its lock; `on_end` comes without it, on the read's thread.

    A thread that waits for a disk cannot be ended, only given up. What it brings in the end is as good as what others
    bring.
    """

    def __init__(self, load: Loader, limits: ReadLimits, on_end: Callable[[AdapterSource, Outcome], None]) -> None:
        self._load = load
        self._limits = limits
        self._on_end = on_end
        self._reads: dict[str, _Read] = {}
        """By digest."""

    @property
    def threads(self) -> list[threading.Thread]:
        """Of all reads."""
        return [read.thread for read in self._reads.values()]

    @property
    def seconds_left(self) -> float | None:
        """Until it is worth looking again at the reads; none if there are none."""
        limits = (self._limits.slow_seconds, self._limits.timeout_seconds)
        left = [limit - read.seconds for read in self._reads.values() for limit in limits]
        # At most so long, because a limit may have been passed since the last look.
        return min([self._limits.slow_seconds, *(each for each in left if each > 0)]) if self._reads else None

    def is_slow(self, digest: str) -> bool:
        """Whether it is being read, and has been for long."""
        read = self._reads.get(digest)
        return read is not None and read.seconds >= self._limits.slow_seconds

    def begin(self, source: AdapterSource) -> None:
        """Reads it, unless that is under way already or as many are as may be.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        num_busy = sum(not self.is_slow(digest) for digest in self._reads)
        if source.digest in self._reads or num_busy >= self._limits.concurrent or self._exhausted:
            return
        thread = threading.Thread(target=self._run, args=[source], name="adapter-reader", daemon=True)
        thread.start()
        self._reads[source.digest] = _Read(thread)

    def end(self, source: AdapterSource) -> None:
        """The read is over."""
        del self._reads[source.digest]

    def refusal(self, source: AdapterSource) -> AdapterLoadError | None:
        """Why nobody should wait for it: its own read hangs, or so many that it cannot be read."""
        hanging = [digest for digest, read in self._reads.items() if read.seconds >= self._limits.timeout_seconds]
        if source.digest not in hanging and (source.digest in self._reads or len(hanging) < self._limits.threads):
            return None
        return AdapterLoadError(
            f"adapter {source.label} could not be read: {len(hanging)} reads have not ended within "
            f"{self._limits.timeout_seconds:g} s; look at the storage under {source.folder.parent}"
        )

    @property
    def _exhausted(self) -> bool:
        return len(self._reads) >= self._limits.threads

    def _run(self, source: AdapterSource) -> None:
        compute_alone()
        self._on_end(source, self._outcome(source))

    def _outcome(self, source: AdapterSource) -> Outcome:
        try:
            return self._load(source)
        except AdapterLoadError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever one adapter does to its thread, those who wait are told
            return defect(source, error)


def defect(source: AdapterSource, error: Exception) -> AdapterLoadError:
    """What those who wait are told of something unforeseen; the log has all of it."""
    _log.error("adapter %s could not be loaded", source.digest, exc_info=error)
    return AdapterLoadError(f"adapter {source.label} could not be loaded: {type(error).__name__}")
