"""Work of minutes: little at once, each on a thread for its whole time, stopped when nobody waits for it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.api.errors.problem import ApiError, Problem
from service.engine.errors import EngineClosedError

T = TypeVar("T")
_RETRY_AFTER_SECONDS = 10


class Stop:
    """Ends a piece of work where it next looks."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def cancel(self) -> None:
        """Asks for the end; returns at once."""
        self._asked.set()

    def check(self, _done: int, _total: int) -> None:
        """Listens to an evaluation's progress.

        Raises:
            EngineClosedError: the end was asked for.
        """
        if self._asked.is_set():
            raise EngineClosedError


class LongWork:
    """The places for work of one kind.

    Args:
        noun: what is done, in the plural; names the error code.
        limit: how many may run at once.
    """

    def __init__(self, noun: str, limit: int) -> None:
        self._noun = noun
        self._limit = limit
        self._free = threading.Semaphore(limit)
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=noun)

    async def run(self, work: Callable[[Stop], T], stop: Stop) -> T:
        """The result of `work`. Whoever stops waiting for it stops it too; its place is free when its thread is.

        Raises:
            ApiError: every place is taken.
        """
        if not self._free.acquire(blocking=False):
            message = f"{self._limit} {self._noun} are running, which is the limit; try again later"
            raise ApiError(
                Problem(
                    status=429,
                    message=message,
                    code=f"too_many_{self._noun}",
                    retry_after_seconds=_RETRY_AFTER_SECONDS,
                )
            )
        running = self._pool.submit(work, stop)
        running.add_done_callback(lambda _: self._free.release())
        try:
            return await asyncio.wrap_future(running)
        finally:
            stop.cancel()

    def close(self) -> None:
        """Takes no more work; what runs is left to its `Stop`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
