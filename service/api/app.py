"""The application: its routes, and what wraps them."""

import logging
from importlib.metadata import version

from fastapi import FastAPI

from adapters.registry import Registry
from base.source import locate
from service.api.auth.keys import Keys
from service.api.errors.handlers import LastResort, add_error_handlers
from service.api.middleware.body_limit import BodyLimit
from service.api.middleware.request_id import RequestId
from service.api.openapi import ERRORS, add_examples
from service.api.process.lifecycle import Lifecycle
from service.api.process.lifespan import OpenInference, lifespan_of
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
from service.inference.inference import Inference
from service.settings import Settings

_log = logging.getLogger(__name__)

_FORM_BYTES = 1 << 16
"""What a form may have beside its file."""


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
        lifespan=lifespan_of(settings, Keys.parse(settings.api_keys), open_inference, lifecycle),
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
