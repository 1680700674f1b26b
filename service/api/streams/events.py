"""Answers as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from service.api.answers.generation import Running
from service.api.errors.mapping import problem_of
from service.api.middleware.request_id import access_record, request_id
from service.engine.errors import EngineClosedError, InvalidAdaptersError, InvalidGrammarError
from service.engine.request import Delta

_log = logging.getLogger(__name__)

Events = AsyncGenerator[ServerSentEvent, None]
OnError = Callable[[dict[str, Any]], Sequence[ServerSentEvent]]
"""The events that end a stream that failed, made of the error object."""


class AnswerStream(EventSourceResponse):
    """A response of events that ends the engine's work when it ends itself, whichever way.

    Args:
        request: what is being answered.
        running: the answers that the events are made of.
        events: what is sent while all goes well.
        on_error: what is sent last when something fails: a stream that has begun has no status left to set.
    """

    def __init__(self, request: Request, running: Sequence[Running], events: Events, on_error: OnError) -> None:
        super().__init__(_ended(request, events, on_error))
        self._answering = request.state.lorad.lifecycle.in_flight.answering([each.stream for each in running])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._answering:
            await super().__call__(scope, receive, send)


async def merged(request: Request, running: Sequence[Running]) -> AsyncGenerator[tuple[int, Delta], None]:
    """The deltas of all answers as they come, each with the answer's position. To be closed by the caller.

    Raises:
        EngineError: an answer failed, or was cut because the server shuts down.
        ApiError: an answer failed, and a parameter is to blame.
    """
    arrived: asyncio.Queue[tuple[int, Delta] | Exception] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(at, each, arrived)) for at, each in enumerate(running)]
    record, left = access_record(request.scope), len(running)
    record.tokens_out = 0
    try:
        while left:
            item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            if item[1].finish_reason == "cancelled":
                raise EngineClosedError
            left -= item[1].finish_reason is not None
            record.tokens_out += len(item[1].token_ids)
            yield item
    finally:
        for pump in pumps:
            pump.cancel()


async def _pump(at: int, running: Running, arrived: "asyncio.Queue[tuple[int, Delta] | Exception]") -> None:
    try:
        async for delta in running.stream:
            arrived.put_nowait((at, delta))
    except (InvalidGrammarError, InvalidAdaptersError) as error:
        arrived.put_nowait(running.asked.explained(error))
    except Exception as error:  # noqa: BLE001 - handed to whoever reads the queue, who raises it
        arrived.put_nowait(error)


async def _ended(request: Request, events: Events, on_error: OnError) -> Events:
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except Exception as error:  # noqa: BLE001 - the last place where the client can still be told
        problem = problem_of(error)
        if problem.status == 500:
            _log.exception("the stream of request %s failed", request_id(request.scope))
        for event in on_error(problem.body(request_id(request.scope))):
            yield event
