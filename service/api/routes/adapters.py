"""`/v1/adapters`: versions in and out, and the aliases that point to them."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Path, Query
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from adapters.aliases import Move
from adapters.archive import pack
from adapters.reference import NAME, Reference
from adapters.search import find
from adapters.transfer import export
from adapters.version import Change, Version
from service.api.auth.principal import Publisher, Reader, Ready
from service.api.residency.pins import unpinning
from service.api.residency.places import Places
from service.api.schemas.adapters import (
    AdapterList,
    AdapterReply,
    AliasBody,
    Deleted,
    RollbackBody,
    VersionList,
    VersionReply,
)
from service.api.schemas.search import SearchQuery
from service.api.state import ServerState, State
from service.api.uploads.archives import Uploaded, import_upload, publish_upload
from service.registry.signing import signing_key

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
def list_adapters(principal: Reader, state: State, search: Annotated[SearchQuery, Query()]) -> AdapterList:
    """The tenant's adapters of which a version fulfils the search, by name, and where their versions are."""
    places = Places.now(state)
    page = find(state.registry, principal.tenant, search.search, search.limit, search.after)
    return AdapterList(
        data=[AdapterReply.of(found.adapter, places, found.matches) for found in page.data], has_more=page.has_more
    )


@router.post("", status_code=201, openapi_extra=_FORM)
def upload(principal: Publisher, inference: Ready, state: State, uploaded: Uploaded) -> VersionReply:
    """Publishes an adapter; the same content under the same name gives the version that exists."""
    return _reply(publish_upload(inference, state, principal, uploaded), state)


@router.post("/import", status_code=201, openapi_extra=_FORM)
def import_archive(
    principal: Publisher, inference: Ready, state: State, uploaded: Uploaded, allow_unsigned: bool = False
) -> VersionReply:
    """Publishes a signed archive with its metrics, tags and lineage; an empty name means the one that it had."""
    return _reply(import_upload(inference, state, principal, uploaded, allow_unsigned=allow_unsigned), state)


@router.get("/{name}")
def show_adapter(principal: Reader, state: State, name: Name) -> AdapterReply:
    """One adapter with its newest version, and where its versions are."""
    return AdapterReply.of(state.registry.adapter(principal.tenant, name), Places.now(state))


@router.delete("/{name}")
def delete_adapter(principal: Publisher, state: State, name: Name) -> Deleted:
    """Deletes every version and alias."""
    with unpinning(state, principal, name):
        state.registry.delete(principal.tenant, name, change=Change(actor=principal.tenant))
    return Deleted(id=name, object="adapter")


@router.get("/{name}/versions")
def list_versions(principal: Reader, state: State, name: Name, checkpoints: bool = False) -> VersionList:
    """Every version, newest first; with `checkpoints=true` also those that a job has published so far, after them."""
    places = Places.now(state)
    versions = state.registry.versions(principal.tenant, name)
    if checkpoints:
        versions += state.registry.checkpoints(principal.tenant, name)
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
    return _packed(f"{name}-{number}", lambda archive: pack(version, archive))


@router.get("/{name}/versions/{number}/archive", response_class=StreamingResponse)
def signed_archive(
    principal: Reader, state: State, name: Name, number: Number, allow_unsigned: bool = False
) -> StreamingResponse:
    """A version with all that the registry knows of it, signed with the server's key, for another registry."""
    key = signing_key(state.settings, required=not allow_unsigned)
    reference = Reference(name=name, number=number)
    return _packed(
        f"{name}-{number}", lambda archive: export(state.registry, principal.tenant, reference, archive, key)
    )


def _packed(filename: str, write: Callable[[BinaryIO], None]) -> StreamingResponse:
    # Closed after the response. Its type lacks the name, not the methods.
    archive = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))  # noqa: SIM115
    write(archive)
    headers = {
        "Content-Length": str(archive.tell()),
        "Content-Disposition": f'attachment; filename="{filename}.tar.gz"',
    }
    archive.seek(0)
    return StreamingResponse(
        _chunks(archive), media_type="application/gzip", headers=headers, background=BackgroundTask(archive.close)
    )


@router.put("/{name}/aliases/{alias}")
def set_alias(principal: Publisher, state: State, name: Name, alias: Name, body: AliasBody) -> VersionReply:
    """Lets an alias point to a version, if it still points where the caller expects."""
    move = Move(alias=alias, number=body.version, expected=body.expected)
    change = Change(actor=principal.tenant, reason=body.reason)
    [version] = state.registry.promote(principal.tenant, name, [move], change)
    return _reply(version, state)


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
