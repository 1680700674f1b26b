"""From start to end: what a server opens, the base that it loads beside, and what it closes in which order."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from adapters.registry import Registry
from evaluation.arena.arena import Arena
from service.api.auth.keys import Keys
from service.api.background.claimed_work import ClaimedWork
from service.api.background.evaluation_runner import EvaluationRunner
from service.api.background.gate_keeper import GateKeeper
from service.api.background.long_work import LongWork, Stop
from service.api.process.lifecycle import Lifecycle
from service.api.residency.pins import load_pinned
from service.api.state import ServerState
from service.api.streams.limit import EventStreams
from service.evaluation.run import Desk, open_desk
from service.files.files import Files
from service.files.opening import open_files
from service.gate.gates import Gates
from service.gate.procedure import open_procedure
from service.generation.claims import GenerationClaim
from service.generation.desk import GenerationDesk
from service.generation.errors import StaleGenerationError
from service.generation.opening import open_generations
from service.inference.inference import Inference
from service.jobs.jobs import Jobs
from service.jobs.opening import open_jobs
from service.registry.opening import open_registry
from service.settings import Settings

_log = logging.getLogger(__name__)

MAX_EVALUATIONS = 4
"""At once that a request waits for; each takes a thread for its whole time."""
MAX_BACKGROUND_EVALUATIONS = 2
"""At once that no request waits for; the others wait in the database."""
MAX_PREFLIGHTS = 1
"""At once: each reads whole files into memory and takes processor time that answers need."""
MAX_GENERATIONS = 1
"""At once: each fills the engine with its attempts as far as its share goes."""
MAX_EVENT_STREAMS = 256
"""At once; each asks the database twice a second."""
_CLOSE_SECONDS = 10

OpenInference = Callable[[Registry, Settings], Inference]
"""Loads the base and starts the engine; called on a thread of its own."""


def lifespan_of(
    settings: Settings, keys: Keys, open_inference: OpenInference, lifecycle: Lifecycle
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """What FastAPI enters at the start and leaves at the end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        state = _state(settings, keys, lifecycle, await _opened(settings, lifecycle))
        _load(state, open_inference)
        state.runner.start()
        state.gate_keeper.start()
        state.generation_runner.start()
        try:
            yield {"lorad": state}
        finally:
            await _close(state)

    return lifespan


@dataclass(frozen=True)
class _Opened:
    registry: Registry
    files: Files
    jobs: Jobs
    desk: Desk
    generations: GenerationDesk

    @classmethod
    def of(cls, settings: Settings) -> "_Opened":
        registry = open_registry(settings)
        jobs = open_jobs(settings, registry.database)
        files = open_files(settings, registry.database, jobs.uses)
        desk = open_desk(settings, registry.database)
        return cls(registry, files, jobs, desk, open_generations(settings, registry.database, files))


async def _opened(settings: Settings, lifecycle: Lifecycle) -> _Opened:
    try:
        return await run_in_threadpool(_Opened.of, settings)
    except Exception as error:
        lifecycle.fail(error)
        raise


def _state(settings: Settings, keys: Keys, lifecycle: Lifecycle, opened: _Opened) -> ServerState:
    gates = Gates(opened.registry.database)
    return ServerState(
        settings=settings,
        keys=keys,
        registry=opened.registry,
        lifecycle=lifecycle,
        evaluations=LongWork("evaluations", MAX_EVALUATIONS),
        desk=opened.desk,
        runner=EvaluationRunner(
            opened.desk, lifecycle, limit=MAX_BACKGROUND_EVALUATIONS, lease_seconds=settings.lease_seconds
        ),
        preflights=LongWork("preflights", MAX_PREFLIGHTS),
        files=opened.files,
        jobs=opened.jobs,
        arena=Arena(opened.registry.database),
        generations=opened.generations,
        generation_runner=_generation_runner(opened.generations, lifecycle, settings.lease_seconds),
        gates=gates,
        gate_keeper=GateKeeper(gates, open_procedure(opened.registry), lifecycle, settings),
        event_streams=EventStreams(MAX_EVENT_STREAMS),
        started_at=int(time.time()),
    )


def _generation_runner(
    desk: GenerationDesk, lifecycle: Lifecycle, lease_seconds: float
) -> ClaimedWork[GenerationClaim]:
    def carry_out(inference: Inference, claim: GenerationClaim, stop: Stop) -> None:
        desk.carry_out(inference, claim, partial(_should_stop, stop))

    return ClaimedWork(
        "generations",
        desk.claims,
        carry_out,
        stale=StaleGenerationError,
        lifecycle=lifecycle,
        limit=MAX_GENERATIONS,
        lease_seconds=lease_seconds,
    )


def _should_stop(stop: Stop) -> bool:
    stop.check(0, 0)
    return False


def _load(state: ServerState, open_inference: OpenInference) -> None:
    """Starts loading. On a daemon thread, because nothing can stop it and the process may have to end first."""
    loop, lifecycle = asyncio.get_running_loop(), state.lifecycle

    def load() -> None:
        try:
            inference = open_inference(state.registry, state.settings)
            load_pinned(state.registry, inference)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends with it
            _log.error("the base could not be loaded: %s", error)
            _call(loop, lifecycle.fail, error)
        else:
            if not _call(loop, lifecycle.set_ready, inference):
                inference.close()

    threading.Thread(target=load, name="base-loader", daemon=True).start()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], argument: object) -> bool:
    """Runs a function on the loop's thread; False where the loop has ended."""
    try:
        loop.call_soon_threadsafe(function, argument)
    except RuntimeError:
        return False
    return True


async def _close(state: ServerState) -> None:
    """Lets running requests end, cuts those that take too long, then closes the engine and the registry."""
    state.lifecycle.drain()
    # Their work waits for the next server, so there is no reason to wait for it.
    background = (state.runner, state.generation_runner, state.gate_keeper)
    for each in background:
        each.close()
    await _finished(state.lifecycle, state.settings.shutdown_timeout)
    state.lifecycle.in_flight.cancel()
    if state.lifecycle.opened is not None:
        with anyio.move_on_after(_CLOSE_SECONDS) as limit:
            await anyio.to_thread.run_sync(state.lifecycle.opened.close, abandon_on_cancel=True)
        if limit.cancelled_caught:
            _log.warning("the engine did not end within %d s and is left behind", _CLOSE_SECONDS)
    # What waits for the engine ends with it, and writes that down: the database is closed after it.
    for each in background:
        await run_in_threadpool(each.join, _CLOSE_SECONDS)
    state.evaluations.close()
    state.preflights.close()
    state.registry.database.dispose()


async def _finished(lifecycle: Lifecycle, timeout_seconds: float) -> None:
    with anyio.move_on_after(timeout_seconds):
        while lifecycle.in_flight.num_requests:
            await asyncio.sleep(0.05)
