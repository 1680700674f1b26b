"""Streams that run in the background, seen from the client."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Self

import httpx
from peers.side import Ask, HttpServer

_POLL_SECONDS = 0.02


class Streams:
    """Answers that are read as they come, until the block ends; the clock of every piece of text is kept.

    Args:
        server: who answers.
        client: for the server.
        asks: one stream each.
        max_tokens: enough to outlast what is measured.
    """

    def __init__(self, server: HttpServer, client: httpx.AsyncClient, asks: Sequence[Ask], max_tokens: int) -> None:
        self._clocks: list[list[float]] = [[] for _ in asks]
        self._tasks = [
            asyncio.create_task(self._read(server, client, ask, max_tokens, clocks))
            for ask, clocks in zip(asks, self._clocks, strict=True)
        ]

    async def reach(self, num_tokens: int) -> None:
        """Waits until every stream has brought so much."""
        while min(len(clocks) for clocks in self._clocks) < num_tokens:
            self.check()
            await asyncio.sleep(_POLL_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """Complains about a stream that has ended.

        Raises:
            Exception: what ended it.
        """
        for task in self._tasks:
            if task.done():
                task.result()
                raise AssertionError("a stream ended before the measurement did")

    def gaps(self, start: float, end: float) -> list[float]:
        """Seconds between neighbouring tokens of a stream, of all streams, where some of it lies in the interval."""
        return [
            later - earlier
            for clocks in self._clocks
            for earlier, later in itertools.pairwise(clocks)
            if earlier < end and later > start
        ]

    @staticmethod
    async def _read(
        server: HttpServer, client: httpx.AsyncClient, ask: Ask, max_tokens: int, clocks: list[float]
    ) -> None:
        async for clock in server.stream(client, ask.prompt, ask.adapter, max_tokens):
            clocks.append(clock)
