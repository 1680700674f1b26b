"""The application: its routes, what wraps them, and what it opens and closes."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from adapters.registry import Registry
from base.source import locate
from service.api.body_limit import BodyLimit
from service.api.error_handlers import LastResort, add_error_handlers
from service.api.evaluations import Evaluations
from service.api.keys import Keys
from service.api.lifecycle import Lifecycle
from service.api.request_id import RequestId
from service.api.routes import adapters, chat, completions, evaluate, generate, loading, models, operations
from service.api.state import ServerState
from service.inference import Inference
from service.registry import open_registry
from service.settings import Settings

_log = logging.getLogger(__name__)

MAX_EVALUATIONS = 4
"""At once; each takes a thread for its whole time."""
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
    for routes in (operations, generate, evaluate, chat, completions, models, adapters, loading):
        app.include_router(routes.router)
    add_error_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, max_upload_bytes=settings.max_upload_bytes)
    app.add_middleware(LastResort)
    app.add_middleware(RequestId, in_flight=lifecycle.in_flight)
    return app


def _lifespan(
    settings: Settings, keys: Keys, open_inference: OpenInference, lifecycle: Lifecycle
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        registry = await _opened_registry(settings, lifecycle)
        state = ServerState(
            settings=settings,
            keys=keys,
            registry=registry,
            lifecycle=lifecycle,
            evaluations=Evaluations(MAX_EVALUATIONS),
            started_at=int(time.time()),
        )
        _load(state, open_inference)
        try:
            yield {"lorad": state}
        finally:
            await _close(state)

    return lifespan


async def _opened_registry(settings: Settings, lifecycle: Lifecycle) -> Registry:
    try:
        return await run_in_threadpool(open_registry, settings)
    except Exception as error:
        lifecycle.fail(error)
        raise


def _load(state: ServerState, open_inference: OpenInference) -> None:
    """Starts loading. On a daemon thread, because nothing can stop it and the process may have to end first."""
    loop, lifecycle = asyncio.get_running_loop(), state.lifecycle

    def load() -> None:
        try:
            inference = open_inference(state.registry, state.settings)
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
    await _finished(state.lifecycle, state.settings.shutdown_timeout)
    state.lifecycle.in_flight.cancel()
    if state.lifecycle.opened is not None:
        with anyio.move_on_after(_CLOSE_SECONDS) as limit:
            await anyio.to_thread.run_sync(state.lifecycle.opened.close, abandon_on_cancel=True)
        if limit.cancelled_caught:
            _log.warning("the engine did not end within %d s and is left behind", _CLOSE_SECONDS)
    state.evaluations.close()
    state.registry.database.dispose()


async def _finished(lifecycle: Lifecycle, timeout_seconds: float) -> None:
    with anyio.move_on_after(timeout_seconds):
        while lifecycle.in_flight.num_requests:
            await asyncio.sleep(0.05)
