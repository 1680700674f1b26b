"""Servers on the tiny base: one shared by tests that change nothing, and fresh ones for the others."""

import asyncio
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from adapters.registry import Registry
from service.api.app import create_app
from service.api.app import open_inference as load_inference
from service.api.process.lifecycle import Lifecycle
from service.inference.inference import Inference
from service.settings import Settings

LOCAL = "http://127.0.0.1"
BASE = "tiny"


@dataclass
class Gate:
    """Holds the engine before each forward pass while it is closed."""

    opened: threading.Event = field(default_factory=threading.Event)

    def open_inference(self, registry: Registry, settings: Settings) -> Inference:
        """Loads the base with this gate in it."""
        inference = load_inference(registry, settings)
        inference.base.model.register_forward_pre_hook(lambda *_: self.opened.wait(30) and None)
        return inference

    def open_in(self, seconds: float) -> None:
        """Opens from another thread, while this one waits for an answer."""
        threading.Timer(seconds, self.opened.set).start()


@dataclass(frozen=True)
class Running:
    """A server in this process."""

    client: TestClient
    lifecycle: Lifecycle
    gate: Gate
    settings: Settings

    @property
    def inference(self) -> Inference:
        """What answers."""
        return self.lifecycle.inference()


class AsgiCall:
    """One request made within the server's event loop: it can run beside the client's, and hang up in the middle."""

    def __init__(
        self,
        server: Running,
        path: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        query: str = "",
        content_type: str = "application/json",
        **headers: str,
    ) -> None:
        self._server = server
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", content_type.encode()),
                *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": server.client.app_state.copy(),
        }
        self._messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone: asyncio.Event | None = None
        self.num_received = 0
        self.received = b""
        """The response's body so far."""

    def start(self) -> "Future[int | None]":
        """The status, once the application has returned; None if it sent none."""
        future: Future[int | None] = self._portal.start_task_soon(self._run)
        return future

    def hang_up(self) -> None:
        """The client goes away."""
        assert self._gone is not None
        self._portal.call(self._gone.set)

    @property
    def _portal(self) -> Any:
        return self._server.client.portal

    async def _run(self) -> int | None:
        self._gone = asyncio.Event()
        status: int | None = None

        async def receive() -> dict[str, Any]:
            assert self._gone is not None
            self.num_received += 1
            if self._messages:
                return self._messages.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            self.received += message.get("body", b"")

        app: Any = self._server.client.app
        await app(self._scope, receive, send)
        return status


RunServer = Callable[..., AbstractContextManager[Running]]


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Polls, so that no test depends on how fast anything is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    gate, lifecycle = Gate(), Lifecycle()
    gate.opened.set()
    app = create_app(settings, open_inference=gate.open_inference, lifecycle=lifecycle)
    with TestClient(app, base_url=LOCAL) as client:
        # The first load in a new checkout compiles, which takes most of a minute on a busy machine.
        wait_until(lambda: lifecycle.phase != "loading", seconds=180)
        try:
            yield Running(client, lifecycle, gate, settings)
        finally:
            gate.opened.set()


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Callable[..., Settings]:
    """`make_settings(**overrides)`: each with a home of its own."""

    def make(**overrides: Any) -> Settings:
        values = {
            "base_model": str(tiny_base_folder),
            "device": "cpu",
            "shutdown_timeout": 5,
            "port": 0,
            "kv_cache_memory_bytes": 4 << 20,
            "workers": 0,
            **overrides,
        }
        return Settings(home=tmp_path_factory.mktemp("home"), **values)

    return make


@pytest.fixture(scope="session")
def run_server(make_settings: Callable[..., Settings]) -> RunServer:
    """`with run_server(**settings) as running:` a server that is ready."""
    return lambda **overrides: running(make_settings(**overrides))


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory, make_adapter: Callable[..., Path]) -> dict[str, bytes]:
    """Two adapters that answer differently, as uploads."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        "a": archive_of(make_adapter(root / "a", seed=1)),
        "b": archive_of(make_adapter(root / "b", seed=2, rank=8)),
    }


def archive_of(folder: Path) -> bytes:
    """A folder as .tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return buffer.getvalue()


def upload(client: TestClient, name: str, archive: bytes, **headers: str) -> Any:
    """Publishes an archive; the response."""
    return client.post("/v1/adapters", data={"name": name}, files={"file": ("x.tar.gz", archive)}, headers=headers)


@pytest.fixture(scope="session")
def shared(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    """A server without keys that has adapters `a` (two versions, the first named `prod`) and `b`; leave it so."""
    with run_server() as server:
        for name, archive in (("a", "a"), ("b", "b"), ("a", "b")):
            assert upload(server.client, name, archives[archive]).status_code == 201
        assert server.client.put("/v1/adapters/a/aliases/prod", json={"version": 1}).status_code == 200
        yield server


@pytest.fixture
def client(shared: Running) -> TestClient:
    """Of the shared server."""
    return shared.client


def error_of(response: Any) -> dict[str, Any]:
    """The error object."""
    error: dict[str, Any] = response.json()["error"]
    return error


def upload_to(url: str, name: str, archive: bytes, key: str) -> None:
    """Publishes an archive on a server behind a socket."""
    headers = {"Authorization": f"Bearer {key}"}
    files = {"file": ("x.tar.gz", archive)}
    response = httpx.post(f"{url}/v1/adapters", data={"name": name}, files=files, headers=headers, timeout=60)
    assert response.status_code == 201, response.text
