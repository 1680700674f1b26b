"""`/v1/adapters`: versions in and out, and the aliases that point to them."""

import tempfile
from collections.abc import Iterator
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Path
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from adapters.archive import pack
from adapters.errors import UnknownAdapterError
from adapters.reference import NAME, Reference
from adapters.version import Change, Version
from service.api.pins import unpinning
from service.api.principal import Publisher, Reader, Ready
from service.api.residency import Places
from service.api.schemas.adapters import (
    AdapterList,
    AdapterReply,
    AliasBody,
    Deleted,
    RollbackBody,
    VersionList,
    VersionReply,
)
from service.api.state import ServerState, State
from service.api.uploads import Uploaded, publish_upload

router = APIRouter(prefix="/v1/adapters", tags=["adapters"])

Name = Annotated[str, Path(pattern=f"^{NAME.pattern}$", max_length=64)]
Number = Annotated[int, Path(ge=1, le=999_999_999)]

_CHUNK_BYTES = 1 << 18
_IN_MEMORY_BYTES = 1 << 20
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "name"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": ".zip or .tar.gz of one folder"},
                        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
                    },
                }
            }
        },
    }
}


@router.get("")
def list_adapters(principal: Reader, state: State) -> AdapterList:
    """Every adapter of the caller's tenant, and where its versions are: on the device, in host memory, in the store."""
    places = Places.now(state)
    return AdapterList(data=[AdapterReply.of(adapter, places) for adapter in state.registry.adapters(principal.tenant)])


@router.post("", status_code=201, openapi_extra=_FORM)
def upload(principal: Publisher, inference: Ready, state: State, uploaded: Uploaded) -> VersionReply:
    """Publishes an adapter; the same content under the same name gives the version that exists."""
    return _reply(publish_upload(inference, state, principal, uploaded), state)


@router.get("/{name}")
def show_adapter(principal: Reader, state: State, name: Name) -> AdapterReply:
    """One adapter with its newest version, and where its versions are."""
    adapters = {adapter.name: adapter for adapter in state.registry.adapters(principal.tenant)}
    if name not in adapters:
        raise UnknownAdapterError(name, adapters)
    return AdapterReply.of(adapters[name], Places.now(state))


@router.delete("/{name}")
def delete_adapter(principal: Publisher, state: State, name: Name) -> Deleted:
    """Deletes every version and alias."""
    with unpinning(state, principal, name):
        state.registry.delete(principal.tenant, name, change=Change(actor=principal.tenant))
    return Deleted(id=name, object="adapter")


@router.get("/{name}/versions")
def list_versions(principal: Reader, state: State, name: Name) -> VersionList:
    """Every version, newest first."""
    places = Places.now(state)
    versions = state.registry.versions(principal.tenant, name)
    return VersionList(data=[VersionReply.of(version, places[version]) for version in versions])


@router.get("/{name}/versions/{number}")
def show_version(principal: Reader, state: State, name: Name, number: Number) -> VersionReply:
    """One version."""
    return _reply(state.registry.resolve(principal.tenant, Reference(name=name, number=number)), state)


@router.delete("/{name}/versions/{number}")
def delete_version(principal: Publisher, state: State, name: Name, number: Number) -> Deleted:
    """Deletes one version that no alias points to."""
    with unpinning(state, principal, name, number):
        state.registry.delete(principal.tenant, name, number, Change(actor=principal.tenant))
    return Deleted(id=f"{name}:{number}", object="adapter.version")


@router.get("/{name}/versions/{number}/download", response_class=StreamingResponse)
def download(principal: Reader, state: State, name: Name, number: Number) -> StreamingResponse:
    """A version as a .tar.gz of one PEFT folder."""
    version = state.registry.resolve(principal.tenant, Reference(name=name, number=number))
    # Closed after the response. Its type lacks the name, not the methods.
    archive = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))  # noqa: SIM115
    pack(version, archive)
    headers = {
        "Content-Length": str(archive.tell()),
        "Content-Disposition": f'attachment; filename="{name}-{number}.tar.gz"',
    }
    archive.seek(0)
    return StreamingResponse(
        _chunks(archive), media_type="application/gzip", headers=headers, background=BackgroundTask(archive.close)
    )


@router.put("/{name}/aliases/{alias}")
def set_alias(principal: Publisher, state: State, name: Name, alias: Name, body: AliasBody) -> VersionReply:
    """Lets an alias point to a version."""
    target = Reference(name=name, number=body.version)
    change = Change(actor=principal.tenant, reason=body.reason)
    return _reply(state.registry.set_alias(principal.tenant, target, alias, change), state)


@router.delete("/{name}/aliases/{alias}")
def delete_alias(principal: Publisher, state: State, name: Name, alias: Name) -> Deleted:
    """Deletes an alias; the version stays."""
    state.registry.delete_alias(principal.tenant, name, alias, Change(actor=principal.tenant))
    return Deleted(id=f"{name}@{alias}", object="adapter.alias")


@router.post("/{name}/rollback")
def rollback(principal: Publisher, state: State, name: Name, body: RollbackBody) -> VersionReply:
    """Lets an alias point to what it pointed to before."""
    change = Change(actor=principal.tenant, reason=body.reason)
    return _reply(state.registry.rollback(principal.tenant, name, body.alias, change), state)


def _reply(version: Version, state: ServerState) -> VersionReply:
    return VersionReply.of(version, Places.now(state)[version])


def _chunks(archive: BinaryIO) -> Iterator[bytes]:
    while chunk := archive.read(_CHUNK_BYTES):
        yield chunk
