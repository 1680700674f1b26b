"""A running lorad server, as commands with `--server` use it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

from service.errors import RemoteError

_TIMEOUT = httpx.Timeout(10.0, read=None)
"""Connecting is quick or hopeless; an answer takes as long as the model needs."""
_STREAM_TIMEOUT = httpx.Timeout(10.0, read=60.0)
"""The server sends a heartbeat every few seconds: one that is silent for so long is gone."""
_RECONNECTIONS = 60
"""In a row: a server that starts again loads its base first."""
_RECONNECT_SECONDS = 1.0


class Client:
    """Calls one server and turns its errors into readable ones.

    Args:
        url: the server's address.
        api_key: sent as a bearer token, if any.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer of one request; `options` are httpx's.

        Raises:
            RemoteError: the server cannot be reached, or answers with an error.
        """
        return self._send(method, path, **options).json()

    def download(self, path: str, **options: Any) -> bytes:
        """The bytes of one answer; `options` are httpx's.

        Raises:
            RemoteError: as in `call`.
        """
        return self._send("GET", path, **options).content

    def events(self, path: str) -> Iterator[Any]:
        """The JSON of each server-sent event as it comes, taken up again where a connection is lost or ends.

        A server that shuts down ends its streams in order; that nothing is left to tell, it says with 204.

        Raises:
            RemoteError: as in `call`; or the connection is lost again and again.
        """
        last_id, failures = "", 0
        while True:
            try:
                for event in self._stream(path, last_id):
                    if event is None:
                        return
                    last_id, failures = event[0], 0
                    yield json.loads(event[1])
            except httpx.HTTPError as error:
                failures += 1
                if failures > _RECONNECTIONS:
                    raise RemoteError(f"the connection to {self._url} was lost: {error}") from error
                time.sleep(_RECONNECT_SECONDS)

    def _stream(self, path: str, last_id: str) -> Iterator[tuple[str, str] | None]:
        """Each event's id and data, as long as one connection lasts; None where there is nothing to come."""
        headers = {**self._headers, "Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        with (
            httpx.Client(base_url=self._url, timeout=_STREAM_TIMEOUT, headers=headers) as client,
            client.stream("GET", path) as response,
        ):
            if response.status_code == httpx.codes.NO_CONTENT:
                yield None
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                # It shuts down, or its base is being loaded.
                response.raise_for_status()
            if response.is_error:
                response.read()
                raise RemoteError(f"{self._url}{path} answered {response.status_code}: {_message(response)}")
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(":")
                if line:
                    fields[name] = value.removeprefix(" ")
                elif "data" in fields:
                    yield fields.get("id", last_id), fields["data"]
                    fields = {}

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            with httpx.Client(base_url=self._url, timeout=_TIMEOUT, headers=self._headers) as client:
                response = client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise RemoteError(f"no answer from {self._url}: {error}; is `lorad serve` running there?") from error
        if response.is_error:
            raise RemoteError(f"{self._url}{path} answered {response.status_code}: {_message(response)}")
        return response


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]
