"""A name for every request, in its response and in one log line about it."""

import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.process.in_flight import InFlight

HEADER = "X-Request-Id"
PROBES = ("/live", "/health", "/metrics")
"""Asked every few seconds: they are logged at debug, and draining does not wait for them."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_log = logging.getLogger("lorad.access")


@dataclass
class AccessRecord:
    """What the log line says; routes fill in who asked for what. Prompts and keys have no place in it."""

    request_id: str
    tenant: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    status: int | None = None
    """None: the client went away before there was one."""
    started: float = field(default_factory=time.perf_counter)

    def line(self, scope: Scope) -> dict[str, Any]:
        """The fields of the log line."""
        return {
            "request_id": self.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "tenant": self.tenant,
            "model": self.model,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "status": self.status,
            "seconds": round(time.perf_counter() - self.started, 4),
        }


class RequestId:
    """Takes the client's `X-Request-Id` or makes one, sends it back, and logs the request when it has ended."""

    def __init__(self, app: ASGIApp, in_flight: InFlight) -> None:
        self._app = app
        self._in_flight = in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = AccessRecord(_id_from(Headers(scope=scope)))
        scope.setdefault("state", {})["access"] = record

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)[HEADER] = record.request_id
            await send(message)

        try:
            if scope["path"] in PROBES:
                await self._app(scope, receive, named)
            else:
                with self._in_flight.request():
                    await self._app(scope, receive, named)
        finally:
            level = logging.DEBUG if scope["path"] in PROBES else logging.INFO
            _log.log(level, "%s", json.dumps(record.line(scope)))


def access_record(scope: Mapping[str, Any]) -> AccessRecord:
    """The record of the request that a scope belongs to."""
    record = scope["state"]["access"]
    assert isinstance(record, AccessRecord)
    return record


def request_id(scope: Mapping[str, Any]) -> str:
    """The name of the request that a scope belongs to."""
    return access_record(scope).request_id


def _id_from(headers: Headers) -> str:
    given = headers.get(HEADER, "")
    return given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
