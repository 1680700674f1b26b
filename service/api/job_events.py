"""A job's events as they happen, as server-sent events that a client can take up again where it left off."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.errors import invalid
from service.api.schemas.fine_tuning import EventReply
from service.api.state import ServerState
from service.jobs.job import JobEvent
from storage.errors import StorageUnavailableError

POLL_SECONDS = 0.5
"""The database is asked so often: the worker that writes events may be on another machine."""
HEARTBEAT_SECONDS = 15
"""A comment is sent so often, so that nobody between takes a quiet stream for a dead one."""
_EVENT_ID = re.compile(r"ftevent-(0|[1-9][0-9]{0,17})", re.ASCII)


class JobEventStream(EventSourceResponse):
    """The events of one job after `last_id`, oldest first, until the job has ended or the server shuts down.

    Args:
        state: of the server.
        tenant: whose job.
        job_id: which.
        last_id: number of the last event that the client has; 0 for none.
    """

    def __init__(self, state: ServerState, tenant: str, job_id: str, last_id: int) -> None:
        super().__init__(_events(state, tenant, job_id, last_id), ping=HEARTBEAT_SECONDS)
        self._streams = state.event_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._streams.place():
            await super().__call__(scope, receive, send)


def wants_stream(request: Request, *, asked: bool | None) -> bool:
    """Whether events are to be streamed: as `stream` says, else as the `Accept` header does."""
    return "text/event-stream" in request.headers.get("accept", "") if asked is None else asked


def last_event_id(request: Request) -> int:
    """The number in the header by which a client takes up its stream again; 0 without it.

    Raises:
        ApiError: 400, it is no id of ours.
    """
    return event_number(request.headers.get("last-event-id", "") or "ftevent-0", "Last-Event-ID")


def event_number(event_id: str, param: str) -> int:
    """The number in `ftevent-N`.

    Raises:
        ApiError: 400, it is no such id; `param` is to blame.
    """
    match = _EVENT_ID.fullmatch(event_id)
    if match is None:
        raise invalid(f"{param} {event_id[:80]!r} is no id of an event: these are ftevent-N", param=param)
    return int(match[1])


def stream_of(state: ServerState, tenant: str, job_id: str, last_id: int) -> Response:
    """The stream; or 204, which ends a browser's attempts, where the job has ended and nothing is left to tell.

    Raises:
        UnknownJobError: the tenant has no such job.
    """
    job = state.jobs.get(tenant, job_id)
    if job.ended and not state.jobs.events_since(tenant, job_id, last_id):
        return Response(status_code=204)
    return JobEventStream(state, tenant, job_id, last_id)


async def _events(state: ServerState, tenant: str, job_id: str, last_id: int) -> AsyncGenerator[ServerSentEvent, None]:
    def look() -> tuple[bool, Sequence[JobEvent]]:
        # In this order: what was said before the end is among the events that are read after it.
        ended = state.jobs.get(tenant, job_id).ended
        return ended, state.jobs.events_since(tenant, job_id, last_id)

    while state.lifecycle.phase != "draining":
        try:
            ended, events = await run_in_threadpool(look)
        except StorageUnavailableError:
            # It will come back, and the numbers go on from where they were.
            ended, events = False, []
        for event in events:
            last_id = event.number
            yield ServerSentEvent(EventReply.of(event).model_dump_json(), id=event.id)
        if ended and not events:
            return
        if not events:
            await asyncio.sleep(POLL_SECONDS)
