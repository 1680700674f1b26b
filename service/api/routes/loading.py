"""`/v1/load_lora_adapter` and `/v1/unload_lora_adapter`: adapters that stay on the device."""

import asyncio

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from adapters.reference import Reference
from service.api.answers.generation import resolve
from service.api.auth.principal import Operator, Ready
from service.api.errors.problem import invalid
from service.api.residency.pins import unpin
from service.api.residency.places import Places
from service.api.schemas.adapters import VersionReply
from service.api.schemas.loading import LoraBody, Unloaded
from service.api.state import State

router = APIRouter(prefix="/v1", tags=["adapters"])


@router.post("/load_lora_adapter")
async def load(principal: Operator, inference: Ready, state: State, body: LoraBody) -> VersionReply:
    """Loads an adapter and keeps it on the device; the answer comes when it is there."""
    target = await run_in_threadpool(resolve, inference, principal, body.lora_name, "lora_name")
    if not target.parts:
        raise invalid(f"{body.lora_name!r} is the base, which is always loaded", param="lora_name")
    [part] = target.parts
    await asyncio.wrap_future(inference.engine.pin(part.source))
    return VersionReply.of(part.version, Places.now(state)[part.version])


@router.post("/unload_lora_adapter")
def unload(principal: Operator, inference: Ready, state: State, body: LoraBody) -> Unloaded:
    """Lets an adapter leave the device again when its place is needed; a bare name means all of its versions."""
    versions = unpin(state, inference, principal, Reference.parse(body.lora_name))
    if not versions:
        raise invalid(f"{body.lora_name!r} is not loaded to stay", param="lora_name", code="not_loaded")
    return Unloaded(unloaded=[str(version.reference) for version in versions])
