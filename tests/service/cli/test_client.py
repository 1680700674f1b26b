"""Event streams that end before what they tell of does."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from service.cli import client as client_module
from service.cli.client import Client
from service.errors import RemoteError


class Restarting(BaseHTTPRequestHandler):
    """Says one number a connection, is loading every other time, and has three to say."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        last = self.headers.get("Last-Event-ID")
        self.asked.append(last)
        number = int(last or 0) + 1
        if len(self.asked) % 2 == 0:
            self.send_error(503)
        elif number > 3:
            self.send_response(204)
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"id: {number}\ndata: {json.dumps({'number': number})}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Restarting.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Restarting)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_stream_that_ends_in_order_is_taken_up_again_until_the_server_has_said_all(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RECONNECT_SECONDS", 0)
    assert list(Client(url, None).events("/x")) == [{"number": 1}, {"number": 2}, {"number": 3}]
    assert Restarting.asked == [None, "1", "1", "2", "2", "3", "3"]


def test_a_server_that_does_not_come_back_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_RECONNECT_SECONDS", 0)
    monkeypatch.setattr(client_module, "_RECONNECTIONS", 0)
    with pytest.raises(RemoteError, match="was lost"):
        list(Client(url, None).events("/x"))
