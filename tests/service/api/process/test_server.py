import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from base.errors import UnknownBaseError
from service.api.process.protocol import HeaderTimeoutProtocol
from service.api.process.server import Server, listen, serve
from service.engine.errors import EngineFailedError
from service.errors import SettingsError
from service.settings import Settings
from storage.errors import StorageError
from tests.service.api.conftest import Gate, wait_until


@contextmanager
def serving(server: Server) -> Iterator[str]:
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready")
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_only_loopback_is_served(make_settings: Callable[..., Settings], host: str) -> None:
    with pytest.raises(SettingsError, match=r"LORAD_API_KEYS=tenant=key, or serve on 127\.0\.0\.1"):
        listen(make_settings(host=host))


def test_with_keys_every_address_is_served(make_settings: Callable[..., Settings]) -> None:
    with listen(make_settings(host="0.0.0.0", api_keys="acme=key")) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


def test_a_port_in_use_is_told(make_settings: Callable[..., Settings]) -> None:
    with listen(make_settings()) as first:
        port = first.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port}: .*--port"):
            listen(make_settings(port=port))


def test_the_url_is_told_when_it_answers_and_when_it_is_ready(make_settings: Callable[..., Settings]) -> None:
    told: list[tuple[str, str]] = []
    server = Server(
        make_settings(),
        on_listening=lambda url: told.append(("listening", url)),
        on_ready=lambda url: told.append(("ready", url)),
    )
    with serving(server) as url:
        wait_until(lambda: len(told) == 2)
        assert told == [("listening", url), ("ready", url)]
        assert httpx.get(f"{url}/health").status_code == 200
        assert "server" not in httpx.get(f"{url}/live").headers


def test_a_base_that_cannot_be_loaded_ends_the_server_with_the_reason(make_settings: Callable[..., Settings]) -> None:
    server = Server(make_settings(base_model="no-such-base"))
    with pytest.raises(UnknownBaseError, match="no-such-base"):
        server.run_until_stopped()


def test_a_registry_that_cannot_be_opened_ends_the_server_with_the_reason(
    make_settings: Callable[..., Settings],
) -> None:
    server = Server(make_settings(database_url="mysql://x"))
    with pytest.raises(StorageError, match="mysql"):
        server.run_until_stopped()


def test_a_running_request_ends_before_the_server_does(make_settings: Callable[..., Settings]) -> None:
    gate = Gate()
    server = Server(make_settings(shutdown_timeout=60), open_inference=gate.open_inference)
    answers: list[httpx.Response] = []
    body = {"prompt": "x", "max_tokens": 20, "ignore_eos": True}
    with serving(server) as url:
        asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/generate", json=body, timeout=60)))
        asking.start()
        wait_until(lambda: server.lifecycle.in_flight.num_answers == 1)
        server.stop()
        assert httpx.get(f"{url}/health").json() == {"status": "draining"}
        assert httpx.get(f"{url}/live").status_code == 200
        assert httpx.post(f"{url}/generate", json=body).status_code == 503
        gate.opened.set()
        asking.join(60)
    assert answers[0].json()["outputs"][0]["usage"]["completion_tokens"] == 20


def test_a_stream_that_takes_too_long_gets_its_terminal_event(make_settings: Callable[..., Settings]) -> None:
    gate = Gate()
    server = Server(make_settings(shutdown_timeout=0), open_inference=gate.open_inference)
    received: list[str] = []
    body = {"prompt": "x", "max_tokens": 200, "ignore_eos": True, "stream": True}
    with serving(server) as url:
        asking = threading.Thread(
            target=lambda: received.append(httpx.post(f"{url}/generate", json=body, timeout=60).text)
        )
        asking.start()
        wait_until(lambda: server.lifecycle.in_flight.num_answers == 1)
        server.stop()
        gate.opened.set()
        asking.join(60)
    assert "event: error" in received[0]
    assert "server_draining" in received[0]


def test_an_engine_that_dies_ends_the_server_after_telling_every_client(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(make_settings())
    received: list[str] = []
    failures: list[BaseException] = []
    body = {"prompt": "x", "max_tokens": 200, "ignore_eos": True, "stream": True}

    def serve_until_dead() -> None:
        try:
            server.run_until_stopped()
        except EngineFailedError as error:
            failures.append(error)

    def die(*_: object) -> None:
        raise MemoryError

    serving_thread = threading.Thread(target=serve_until_dead)
    serving_thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready")
    monkeypatch.setattr(server.lifecycle.inference().engine._loop, "step", die)
    asking = threading.Thread(
        target=lambda: received.append(httpx.post(f"{server.url}/generate", json=body, timeout=60).text)
    )
    asking.start()
    asking.join(60)
    serving_thread.join(30)
    assert not serving_thread.is_alive()
    assert "event: error" in received[0]
    assert "engine_failed" in received[0]
    assert len(failures) == 1


def test_sigterm_ends_the_process_cleanly_and_logs_are_json(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    code = (
        "from service.api.process.server import serve; from service.settings import Settings; "
        "serve(Settings(), on_ready=lambda url: print(url, flush=True))"
    )
    environment = {
        **os.environ,
        "LORAD_HOME": str(settings.home),
        "LORAD_BASE_MODEL": settings.base_model,
        "LORAD_PORT": "0",
        "LORAD_DEVICE": "cpu",
    }
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.post(f"{url}/generate", json={"prompt": "x", "max_tokens": 2}, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["status"] for line in lines if line["logger"] == "lorad.access"] == [200]


def test_a_client_that_does_not_finish_its_headers_is_cut_off(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeaderTimeoutProtocol, "headers_seconds", 0.3)
    with serving(Server(make_settings())) as url:
        address = ("127.0.0.1", httpx.URL(url).port or 0)
        with socket.create_connection(address, timeout=20) as silent, socket.create_connection(address, 20) as slow:
            slow.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n")
            assert silent.recv(100) == b""
            assert slow.recv(100) == b""
        with socket.create_connection(address, timeout=20) as quick:
            quick.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert quick.recv(100).startswith(b"HTTP/1.1 200")


def test_serve_refuses_what_the_settings_forbid(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError):
        serve(make_settings(host="0.0.0.0"))
