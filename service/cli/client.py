"""A running lorad server, as commands with `--server` use it."""

from typing import Any

import httpx

from service.errors import RemoteError

_TIMEOUT = httpx.Timeout(10.0, read=None)
"""Connecting is quick or hopeless; an answer takes as long as the model needs."""


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

    def download(self, path: str) -> bytes:
        """The bytes of one answer.

        Raises:
            RemoteError: as in `call`.
        """
        return self._send("GET", path).content

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
