"""The caller's end of a request: deltas come out of it, and a cancellation goes in."""

import asyncio
import contextlib
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator

from service.engine.errors import EngineError
from service.engine.request import Answer, Delta


class TokenStream:
    """One request's output, written by the engine thread and read by one consumer, blocking or asynchronous."""

    def __init__(self, prompt_tokens: int, on_cancel: Callable[[], None] = lambda: None) -> None:
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = 0
        """Of the prompt: they were in the cache when the request was admitted."""
        self.cancelled = False
        self._on_cancel = on_cancel
        self._items: queue.SimpleQueue[Delta | EngineError] = queue.SimpleQueue()
        self._wake: Callable[[], None] = lambda: None
        self._wake_for_each = True
        self._started = time.perf_counter()

    @property
    def age_seconds(self) -> float:
        """Since the request was submitted."""
        return time.perf_counter() - self._started

    def cancel(self) -> None:
        """Asks the engine to end the request; a last delta with finish reason `cancelled` follows."""
        self.cancelled = True
        self._on_cancel()

    def put(self, item: Delta | EngineError) -> None:
        """Engine side: hands over a delta, or the error that ends the request."""
        self._items.put(item)
        if self._wake_for_each or isinstance(item, EngineError) or item.finish_reason:
            self._wake()

    def __iter__(self) -> Iterator[Delta]:
        """Blocks for each delta until the last.

        Raises:
            EngineError: the request failed.
        """
        while True:
            delta = self._checked(self._items.get())
            yield delta
            if delta.finish_reason:
                return

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """As `__iter__`, in an event loop; ending the iteration early cancels the request."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._wake = lambda: _wake_loop(loop, arrived)
        finished = False
        try:
            while not finished:
                arrived.clear()
                while not finished and not self._items.empty():
                    delta = self._checked(self._items.get())
                    finished = delta.finish_reason is not None
                    yield delta
                if not finished:
                    await arrived.wait()
        finally:
            self._wake = lambda: None
            if not finished:
                self.cancel()

    def answer(self) -> Answer:
        """Blocks until the request ends.

        Raises:
            EngineError: the request failed.
        """
        return self._joined(list(self))

    async def answer_async(self) -> Answer:
        """As `answer`, in an event loop."""
        # One wake at the end: a loop that is woken for each token of each answer takes the engine's time.
        self._wake_for_each = False
        return self._joined([delta async for delta in self])

    def _joined(self, deltas: list[Delta]) -> Answer:
        reason = deltas[-1].finish_reason
        assert reason is not None
        return Answer(
            text="".join(delta.text for delta in deltas),
            token_ids=tuple(token for delta in deltas for token in delta.token_ids),
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            seconds=self.age_seconds,
            logprobs=tuple(found for delta in deltas for found in delta.logprobs),
            prompt_logprobs=tuple(found for delta in deltas for found in delta.prompt_logprobs),
        )

    def _checked(self, item: Delta | EngineError) -> Delta:
        if isinstance(item, EngineError):
            raise item
        return item


def _wake_loop(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    # A loop that has been closed has nobody left to wake; it may close at any moment.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(arrived.set)
