"""What happens to something as it happens: server-sent events that a client can take up again where it left off."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fastapi import Request
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.errors.problem import invalid
from service.api.state import ServerState
from storage.errors import StorageUnavailableError

POLL_SECONDS = 0.5
"""The database is asked so often: what writes events may be on another machine."""
HEARTBEAT_SECONDS = 15
"""A comment is sent so often, so that nobody between takes a quiet stream for a dead one."""


class Numbered(Protocol):
    """An event."""

    @property
    def number(self) -> int:
        """Rises with time."""

    @property
    def id(self) -> str:
        """How lists and streams name it."""


E = TypeVar("E", bound=Numbered)


@dataclass(frozen=True, kw_only=True)
class Followed(Generic[E]):
    """Something that events tell of until it has ended; both functions may ask the database."""

    ended: Callable[[], bool]
    since: Callable[[int], Sequence[E]]
    """The events after that number, oldest first."""
    shown: Callable[[E], BaseModel]


@dataclass(frozen=True)
class EventIds:
    """Ids of events of one kind: a prefix, a hyphen and the number."""

    prefix: str

    def number(self, event_id: str, param: str) -> int:
        """The number in an id.

        Raises:
            ApiError: 400, it is no such id; `param` is to blame.
        """
        match = re.fullmatch(rf"{self.prefix}-(0|[1-9][0-9]{{0,17}})", event_id, re.ASCII)
        if match is None:
            raise invalid(f"{param} {event_id[:80]!r} is no id of an event: these are {self.prefix}-N", param=param)
        return int(match[1])

    def last(self, request: Request) -> int:
        """The number in the header by which a client takes up its stream again; 0 without it.

        Raises:
            ApiError: 400, it is no id of ours.
        """
        return self.number(request.headers.get("last-event-id", "") or f"{self.prefix}-0", "Last-Event-ID")


class EventStream(EventSourceResponse):
    """The events after `last_id`, oldest first, until what they tell of has ended or the server shuts down.

    Args:
        state: of the server.
        followed: what they tell of.
        last_id: number of the last event that the client has; 0 for none.
    """

    def __init__(self, state: ServerState, followed: Followed[E], last_id: int) -> None:
        super().__init__(_events(state, followed, last_id), ping=HEARTBEAT_SECONDS)
        self._streams = state.event_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._streams.place():
            await super().__call__(scope, receive, send)


def wants_stream(request: Request, *, asked: bool | None) -> bool:
    """Whether events are to be streamed: as `stream` says, else as the `Accept` header does."""
    return "text/event-stream" in request.headers.get("accept", "") if asked is None else asked


def stream_of(state: ServerState, followed: Followed[E], last_id: int) -> Response:
    """The stream; or 204, which ends a browser's attempts, where all has ended and nothing is left to tell."""
    if followed.ended() and not followed.since(last_id):
        return Response(status_code=204)
    return EventStream(state, followed, last_id)


async def _events(state: ServerState, followed: Followed[E], last_id: int) -> AsyncGenerator[ServerSentEvent, None]:
    def look() -> tuple[bool, Sequence[E]]:
        # In this order: what was said before the end is among the events that are read after it.
        ended = followed.ended()
        return ended, followed.since(last_id)

    while state.lifecycle.phase != "draining":
        try:
            ended, events = await run_in_threadpool(look)
        except StorageUnavailableError:
            # It will come back, and the numbers go on from where they were.
            ended, events = False, []
        for event in events:
            last_id = event.number
            yield ServerSentEvent(followed.shown(event).model_dump_json(), id=event.id)
        if ended and not events:
            return
        if not events:
            await asyncio.sleep(POLL_SECONDS)
