"""Streams that run in the background, seen from the client."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
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
        max_tokens: of an answer; enough to outlast what is measured, where there are no further prompts.
        prompts: what a stream asks next when its answer is whole, so that texts stay of the same length. First answers
            are of different lengths, and streams do not end together.
    """

    def __init__(
        self,
        server: HttpServer,
        client: httpx.AsyncClient,
        asks: Sequence[Ask],
        max_tokens: int,
        prompts: Iterator[str] | None = None,
    ) -> None:
        self._server, self._client = server, client
        self._max_tokens, self._prompts = max_tokens, prompts
        self._answers: list[list[list[float]]] = [[] for _ in asks]
        self._tasks = [asyncio.create_task(self._read(index, ask)) for index, ask in enumerate(asks)]

    async def reach(self, num_tokens: int) -> None:
        """Waits until every stream has brought so much."""
        while min(sum(map(len, answers)) for answers in self._answers) < num_tokens:
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
        """Seconds between neighbouring tokens of an answer, of all streams, where some of it lies in the interval."""
        return [
            later - earlier
            for clocks in itertools.chain.from_iterable(self._answers)
            for earlier, later in itertools.pairwise(clocks)
            if earlier < end and later > start
        ]

    async def _read(self, index: int, ask: Ask) -> None:
        num_tokens = self._max_tokens
        if self._prompts:
            num_tokens = max(num_tokens * (index + 1) // len(self._answers), 1)
        while True:
            clocks = list[float]()
            self._answers[index].append(clocks)
            async for clock in self._server.stream(self._client, ask.prompt, ask.adapter, num_tokens):
                clocks.append(clock)
            if self._prompts is None:
                return
            ask, num_tokens = Ask(next(self._prompts), ask.adapter), self._max_tokens
