"""What every measured side is to the scenarios, and what those that are HTTP servers share."""

import asyncio
import json
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from peers.child import Child

MODES = ("base", "single", "mixed")
"""Which adapters the requests of a batch name: none, all the same, or eight different ones."""
NUM_ADAPTERS = 8

_READY_SECONDS = 600
_REQUEST_SECONDS = 600
_GREETING = "Good morning."
"""Asked before the clock starts; shares no beginning with the prompts that are measured."""

Prompt = str | list[int]
"""Text or token ids."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    prompt: Prompt
    adapter: str | None = None


@dataclass(frozen=True)
class Batch:
    """Requests that are sent at once, and the tokens each is to generate."""

    asks: Sequence[Ask]
    new_tokens: int


class Side(Protocol):
    """Something that answers batches; between `freeze` and `thaw` it takes no CPU."""

    name: str
    modes: Sequence[str]
    """Those it can be measured in."""
    child: Child

    def start(self, folder: Path) -> None:
        """Returns once it answers; logs and state go into the folder."""

    async def answer(self, batch: Batch) -> float:
        """Seconds from the first request to the last token."""


class HttpServer(ABC):
    """A real server process on a free loopback port."""

    name: str
    modes: Sequence[str] = MODES
    mixes = True
    """Whether requests of different adapters run in one batch; if not, some wait until others have ended."""
    path = "/v1/completions"
    environment: Mapping[str, str] = {}
    child: Child
    url: str

    @abstractmethod
    def command(self, port: int, folder: Path) -> list[str]:
        """Starts the server."""

    @abstractmethod
    def body(self, prompt: Prompt, adapter: str | None, max_tokens: int) -> dict[str, Any]:
        """A greedy request that goes on past end tokens."""

    @abstractmethod
    def num_tokens(self, reply: dict[str, Any]) -> int:
        """New tokens, as the whole answer counts them."""

    @abstractmethod
    def text(self, event: dict[str, Any]) -> str:
        """The text of a stream's event."""

    def start(self, folder: Path) -> None:
        """Returns once `/health` is 200.

        Raises:
            ChildFailedError: it ended instead, or took too long.
        """
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.child = Child(self.command(port, folder), self.environment, folder / f"{self.name}.log")
        deadline = time.monotonic() + _READY_SECONDS
        while not self._healthy():
            self.child.check_alive()
            if time.monotonic() > deadline:
                raise self.child.failure(f"was not ready after {_READY_SECONDS} s")
            time.sleep(0.5)

    def client(self) -> httpx.AsyncClient:
        """A new client: a server that was frozen may have closed the connections of an old one."""
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(base_url=self.url, timeout=_REQUEST_SECONDS, limits=limits, trust_env=False)

    async def complete(self, client: httpx.AsyncClient, prompt: Prompt, adapter: str | None, max_tokens: int) -> int:
        """One whole answer; the number of its tokens."""
        reply = await client.post(self.path, json=self.body(prompt, adapter, max_tokens))
        reply.raise_for_status()
        return self.num_tokens(reply.json())

    async def stream(
        self, client: httpx.AsyncClient, prompt: Prompt, adapter: str | None, max_tokens: int
    ) -> AsyncIterator[float]:
        """The clock (`time.perf_counter`) at each piece of text, as the client reads it."""
        body = {**self.body(prompt, adapter, max_tokens), "stream": True}
        async with client.stream("POST", self.path, json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                now = time.perf_counter()
                data = line.removeprefix("data:").strip()
                if data != line and data != "[DONE]" and self.text(json.loads(data)):
                    yield now

    async def first_token_seconds(self, client: httpx.AsyncClient, ask: Ask, max_tokens: int) -> float:
        """From the request to the first piece of text; the rest of the answer is waited for."""
        start = time.perf_counter()
        clocks = [clock async for clock in self.stream(client, ask.prompt, ask.adapter, max_tokens)]
        assert clocks, f"{self.name} gave no text in {max_tokens} tokens"
        return clocks[0] - start

    async def answer(self, batch: Batch) -> float:
        """See `Side`; a short answer before the clock starts brings the server back to life."""
        async with self.client() as client:
            await self.complete(client, _GREETING, batch.asks[0].adapter, 1)
            start = time.perf_counter()
            answers = [self.complete(client, ask.prompt, ask.adapter, batch.new_tokens) for ask in batch.asks]
            counts = await asyncio.gather(*answers)
            seconds = time.perf_counter() - start
        assert counts == [batch.new_tokens] * len(batch.asks), f"{self.name} gave {counts} tokens"
        return seconds

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
