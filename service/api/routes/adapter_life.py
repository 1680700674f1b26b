"""`/v1/adapters/{name}/…`: promotion, tags, pins, retention, history and lineage of versions."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool

from adapters import pins, retention, tags
from adapters.lineage import lineage
from adapters.reference import NAME, Reference
from adapters.version import Change, Version
from service.api.answers.generation import resolve
from service.api.auth.principal import Operator, Publisher, Reader, Ready
from service.api.residency.pins import let_go
from service.api.residency.places import Places
from service.api.routes.adapters import Name, Number
from service.api.schemas.adapter_life import (
    EventReply,
    History,
    LineageReply,
    PinBody,
    PromoteBody,
    Promoted,
    PruneBody,
    Pruned,
    RetentionBody,
    TagBody,
    Unpinned,
)
from service.api.schemas.adapters import AdapterReply, VersionReply
from service.api.state import ServerState, State
from service.evaluation.versions import evaluations_of

router = APIRouter(prefix="/v1/adapters/{name}", tags=["adapters"])

Key = Annotated[str, Path(pattern=f"^{NAME.pattern}$", max_length=64)]


@router.post("/promote")
def promote(principal: Publisher, state: State, name: Name, body: PromoteBody) -> Promoted:
    """Moves aliases together: all of them, or none where one is not where the caller expects it."""
    change = Change(actor=principal.tenant, reason=body.reason)
    moved = state.registry.promote(principal.tenant, name, [move.move for move in body.moves], change)
    return Promoted.of(moved, Places.now(state))


@router.get("/history")
def history(
    principal: Reader,
    state: State,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> History:
    """Who did what to an adapter, when, why and from which job; newest first, also after it was deleted."""
    events = state.registry.history(principal.tenant, name, limit=limit + 1, before=before)
    return History(data=[EventReply.of(event) for event in events[:limit]], has_more=len(events) > limit)


@router.get("/versions/{number}/lineage")
def show_lineage(principal: Reader, state: State, name: Name, number: Number) -> LineageReply:
    """Data, job, the versions that training began with, and what evaluations have found."""
    found = lineage(state.registry, principal.tenant, Reference(name=name, number=number))
    return LineageReply.of(found, evaluations_of(state.desk.runs, principal.tenant, found.version.digest))


@router.put("/versions/{number}/tags/{key}")
def set_tag(principal: Publisher, state: State, name: Name, number: Number, key: Key, body: TagBody) -> VersionReply:
    """Attaches a tag to a version, in the place of one with the same key."""
    change = Change(actor=principal.tenant, reason=body.reason)
    return _reply(tags.set_tags(state.registry, principal.tenant, name, number, {key: body.value}, change), state)


@router.delete("/versions/{number}/tags/{key}")
def remove_tag(principal: Publisher, state: State, name: Name, number: Number, key: Key) -> VersionReply:
    """Takes a tag off a version; one that is not there is no error."""
    change = Change(actor=principal.tenant)
    return _reply(tags.remove_tag(state.registry, principal.tenant, name, number, key, change), state)


@router.put("/retention")
def set_retention(principal: Publisher, state: State, name: Name, body: RetentionBody) -> AdapterReply:
    """Sets how many of the newest versions are kept after a publication; nothing is deleted now."""
    change = Change(actor=principal.tenant, reason=body.reason)
    retention.set_keep(state.registry, principal.tenant, name, body.keep, change)
    return AdapterReply.of(state.registry.adapter(principal.tenant, name), Places.now(state))


@router.post("/prune")
def prune(principal: Publisher, state: State, name: Name, body: PruneBody) -> Pruned:
    """Deletes old versions, save those that an alias, a pin or a running answer needs; says which."""
    opened = state.lifecycle.opened
    wanted = retention.Retention(
        default=state.settings.keep_versions,
        in_use=() if opened is None else opened.engine.in_use(),
        keep=body.keep,
        checkpoints=body.checkpoints,
        dry_run=body.dry_run,
    )
    change = Change(actor=principal.tenant, reason=body.reason)
    gone = retention.prune(state.registry, principal.tenant, name, wanted, change)
    return Pruned(dry_run=body.dry_run, deleted=[str(version.reference) for version in gone])


@router.put("/pin")
async def pin(principal: Operator, inference: Ready, state: State, name: Name, body: PinBody) -> VersionReply:
    """Loads a version, keeps it loaded, and lets every server load it when it starts, before it is ready."""
    reference = Reference(name=name, number=body.version)
    target = await run_in_threadpool(resolve, inference, principal, str(reference), "version")
    await asyncio.wrap_future(inference.engine.pin(target.parts[0].source))
    change = Change(actor=principal.tenant, reason=body.reason)
    try:
        version = await run_in_threadpool(
            pins.pin, state.registry, principal.tenant, target.parts[0].version.reference, change
        )
    except Exception:
        inference.engine.unpin(target.parts[0].version.digest)
        raise
    return _reply(version, state)


@router.delete("/pin")
def unpin(
    principal: Operator,
    inference: Ready,
    state: State,
    name: Name,
    version: Annotated[int | None, Query(ge=1, le=999_999_999)] = None,
) -> Unpinned:
    """Lets a version, or every version of the adapter, leave the device again, here and after the next start."""
    gone = pins.unpin(state.registry, principal.tenant, name, version, Change(actor=principal.tenant))
    let_go(inference, gone)
    return Unpinned(unpinned=[str(each.reference) for each in gone])


def _reply(version: Version, state: ServerState) -> VersionReply:
    return VersionReply.of(version, Places.now(state)[version])
