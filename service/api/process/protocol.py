"""HTTP/1.1 as uvicorn speaks it, with a limit on how long a client may take to send its headers."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_SECONDS = 10.0


class HeaderTimeoutProtocol(H11Protocol):
    """Closes a connection whose headers are not complete in time: uvicorn alone waits for ever (uvicorn#157)."""

    headers_seconds = HEADERS_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts with the connection."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """It stops with the last header, and starts again with the first byte of the next request."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._headers_timer is None:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """No connection, no clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._headers_timer = self.loop.call_later(self.headers_seconds, self._time_out)

    def _stop_clock(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _time_out(self) -> None:
        self._headers_timer = None
        self.transport.close()
