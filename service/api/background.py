"""Work of minutes that no request waits for: few pieces at once, the others in turn, each stopped by its id."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from service.api.errors import ApiError, Problem
from service.api.long_work import Stop
from service.engine.errors import EngineClosedError

Work = Callable[[Stop], None]
"""Writes down itself how it has ended; what it is owed after a shutdown, it finds in its rows again."""

_RETRY_AFTER_SECONDS = 30
_log = logging.getLogger(__name__)


class Background:
    """Threads for work of one kind. Safe for threads.

    Args:
        noun: what is done, in the plural; names the error code and the threads.
        limit: how many pieces run at once.
        max_waiting: how many more may wait.
    """

    def __init__(self, noun: str, *, limit: int, max_waiting: int) -> None:
        self._noun = noun
        self._most = limit + max_waiting
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=f"background-{noun}")
        self._lock = threading.Lock()
        self._stops: dict[str, Stop] = {}
        self._closed = False

    def start(self, run_id: str, work: Work) -> None:
        """Does `work` as soon as there is a place; what runs or waits under that id already is left as it is.

        Raises:
            ApiError: 429, too many wait.
            EngineClosedError: the server shuts down.
        """
        with self._lock:
            if self._closed:
                raise EngineClosedError
            if run_id in self._stops:
                return
            if len(self._stops) >= self._most:
                raise self._full()
            stop = self._stops[run_id] = Stop()
            doing = self._pool.submit(work, stop)
        # Outside the lock: where the work has ended by now, this thread calls it.
        doing.add_done_callback(lambda done: self._ended(run_id, done))

    def cancel(self, run_id: str) -> bool:
        """Stops what runs under that id where it next looks; False where nothing does."""
        with self._lock:
            stop = self._stops.get(run_id)
        if stop is not None:
            stop.cancel()
        return stop is not None

    @property
    def ids(self) -> frozenset[str]:
        """What runs or waits."""
        with self._lock:
            return frozenset(self._stops)

    def close(self) -> None:
        """Takes no more work, forgets what waits and stops what runs where it next looks."""
        with self._lock:
            self._closed = True
            stops = list(self._stops.values())
        for stop in stops:
            stop.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, run_id: str, done: "Future[None]") -> None:
        with self._lock:
            self._stops.pop(run_id, None)
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, EngineClosedError):
            _log.error("%s of %s ended with an error", run_id, self._noun, exc_info=error)

    def _full(self) -> ApiError:
        return ApiError(
            Problem(
                status=429,
                message=f"{self._most} {self._noun} run or wait, which is the limit; try again later",
                code=f"too_many_{self._noun}",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        )
