"""What operators and their machines ask: alive, ready, how busy, which version."""

from importlib.metadata import version

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from service.api.auth.principal import Caller
from service.api.metrics.exposition import CONTENT_TYPE, exposition
from service.api.process.lifecycle import RETRY_AFTER_SECONDS
from service.api.state import State

router = APIRouter(tags=["operations"])


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health")
async def health(state: State) -> JSONResponse:
    """200 while requests are welcome; 503 while loading, draining or failed."""
    phase = state.lifecycle.phase
    if phase == "ready":
        return JSONResponse({"status": phase})
    return JSONResponse({"status": phase}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})


@router.get("/metrics", response_class=Response)
def metrics(principal: Caller, state: State) -> Response:
    """Prometheus text, under vLLM's names where it has one."""
    return Response(exposition(state, principal.tenant), media_type=CONTENT_TYPE)


@router.get("/version")
async def show_version() -> dict[str, str]:
    """The version of lorad."""
    return {"version": version("lorad")}
