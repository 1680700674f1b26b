"""The application: its routes, what wraps them, and what it opens and closes."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from adapters.registry import Registry
from base.source import locate
from evaluation.arena.arena import Arena
from service.api.body_limit import BodyLimit
from service.api.error_handlers import LastResort, add_error_handlers
from service.api.evaluation_runner import EvaluationRunner
from service.api.event_streams import EventStreams
from service.api.gate_keeper import GateKeeper
from service.api.generation_runner import GenerationRunner
from service.api.keys import Keys
from service.api.lifecycle import Lifecycle
from service.api.long_work import LongWork
from service.api.openapi import ERRORS, add_examples
from service.api.pins import load_pinned
from service.api.request_id import RequestId
from service.api.routes import (
    adapter_life,
    adapters,
    arena,
    chat,
    completions,
    evaluate,
    evaluations,
    files,
    fine_tuning,
    gates,
    generate,
    generations,
    loading,
    models,
    operations,
    suites,
)
from service.api.state import ServerState
from service.evaluation_run import Desk, open_desk
from service.files.files import Files
from service.files.opening import open_files
from service.gate.gates import Gates
from service.gate.procedure import open_procedure
from service.generation.desk import GenerationDesk
from service.generation.opening import open_generations
from service.inference import Inference
from service.jobs.jobs import Jobs
from service.jobs.opening import open_jobs
from service.registry import open_registry
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
_FORM_BYTES = 1 << 16
"""What a form may have beside its file."""
_CLOSE_SECONDS = 10

OpenInference = Callable[[Registry, Settings], Inference]
"""Loads the base and starts the engine; called on a thread of its own."""


def open_inference(registry: Registry, settings: Settings) -> Inference:
    """Finds the base that the settings name, fetches it where it is missing, and loads it.

    Raises:
        BaseModelError: the base cannot be had, or not on this machine.
    """
    source = locate(settings.base_model, settings.bases, _log.info)
    return Inference.open(source, registry, settings)


def create_app(
    settings: Settings, *, open_inference: OpenInference = open_inference, lifecycle: Lifecycle | None = None
) -> FastAPI:
    """The application, which opens everything when it is started and loads the base in the background.

    Args:
        settings: of the server; keys are read now.
        open_inference: what loads the base.
        lifecycle: for whoever wants to see when it is ready or has failed, and to drain it.

    Raises:
        SettingsError: the API keys are malformed.
    """
    lifecycle = lifecycle or Lifecycle()
    app = FastAPI(
        title="lorad",
        version=version("lorad"),
        description="One base, many adapters, mixed in one batch.",
        lifespan=_lifespan(settings, Keys.parse(settings.api_keys), open_inference, lifecycle),
        redoc_url=None,
    )
    for routes in (
        operations,
        generate,
        evaluate,
        evaluations,
        suites,
        chat,
        completions,
        models,
        adapters,
        adapter_life,
        loading,
        files,
        fine_tuning,
        gates,
        generations,
        arena,
    ):
        app.include_router(routes.router, responses=ERRORS)
    add_examples(app)
    add_error_handlers(app)
    # The last one added is the outermost.
    uploads = {
        "/v1/adapters": settings.max_upload_bytes,
        "/v1/adapters/import": settings.max_upload_bytes,
        "/v1/files": settings.max_file_bytes + _FORM_BYTES,
        "/suites": settings.max_file_bytes + _FORM_BYTES,
    }
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, uploads=uploads)
    app.add_middleware(LastResort)
    app.add_middleware(RequestId, in_flight=lifecycle.in_flight)
    return app


def _lifespan(
    settings: Settings, keys: Keys, open_inference: OpenInference, lifecycle: Lifecycle
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        opened = await _opened(settings, lifecycle)
        held_gates = Gates(opened.registry.database)
        state = ServerState(
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
            generation_runner=GenerationRunner(
                opened.generations, lifecycle, limit=MAX_GENERATIONS, lease_seconds=settings.lease_seconds
            ),
            gates=held_gates,
            gate_keeper=GateKeeper(held_gates, open_procedure(opened.registry), lifecycle, settings),
            event_streams=EventStreams(MAX_EVENT_STREAMS),
            started_at=int(time.time()),
        )
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
    # Its runs wait for the next server, so there is no reason to wait for them.
    state.runner.close()
    await _finished(state.lifecycle, state.settings.shutdown_timeout)
    state.lifecycle.in_flight.cancel()
    await run_in_threadpool(state.gate_keeper.close)
    state.generation_runner.close()
    if state.lifecycle.opened is not None:
        with anyio.move_on_after(_CLOSE_SECONDS) as limit:
            await anyio.to_thread.run_sync(state.lifecycle.opened.close, abandon_on_cancel=True)
        if limit.cancelled_caught:
            _log.warning("the engine did not end within %d s and is left behind", _CLOSE_SECONDS)
    state.evaluations.close()
    state.preflights.close()
    state.registry.database.dispose()


async def _finished(lifecycle: Lifecycle, timeout_seconds: float) -> None:
    with anyio.move_on_after(timeout_seconds):
        while lifecycle.in_flight.num_requests:
            await asyncio.sleep(0.05)
