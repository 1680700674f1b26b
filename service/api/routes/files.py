"""`/v1/files`, as OpenAI has it: data sets in and out, and what a job would say about them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from typing import Annotated, BinaryIO, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from service.api.auth.principal import Publisher
from service.api.background.long_work import Stop
from service.api.errors.problem import invalid
from service.api.jobs.preflights import Looked, preflight_of
from service.api.schemas.files import FileDeleted, FileList, FileReply, FileReport
from service.api.schemas.listing import After
from service.api.state import State
from service.api.streams.disconnect import until_disconnect
from service.api.uploads.forms import FileForm, read_form
from service.files.stored_file import SUFFIXES
from service.jobs.request import WeightedFile
from service.page import Order
from training.config import AskedConfig

router = APIRouter(prefix="/v1/files", tags=["finetuning"])

FileId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]

_CHUNK_BYTES = 1 << 18
_KINDS = f"a file of one of these formats: {', '.join(SUFFIXES)}"
_PURPOSE: Final = "fine-tune"
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": _KINDS},
                        "purpose": {"type": "string", "enum": [_PURPOSE]},
                    },
                }
            }
        },
    }
}


async def _read_upload(request: Request, _rights: Publisher) -> AsyncIterator[FileForm]:
    async with read_form(request, "purpose", _KINDS) as form:
        yield form


@router.post("", openapi_extra=_FORM)
def upload(principal: Publisher, state: State, form: Annotated[FileForm, Depends(_read_upload)]) -> FileReply:
    """Keeps a file and looks into it: `status` is `error` where no row of it can be learnt, and says why."""
    if form.text != _PURPOSE:
        raise invalid(f"purpose: files are kept for {_PURPOSE!r} only", param="purpose")
    return FileReply.of(state.files.create(principal.tenant, form.filename, _PURPOSE, _chunks(form.file)))


@router.get("")
def list_files(
    principal: Publisher,
    state: State,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> FileList:
    """The caller's files, page by page."""
    return FileList.of(state.files.list(principal.tenant, purpose=purpose, after=after, limit=limit, order=order))


@router.get("/{file_id}")
def show_file(principal: Publisher, state: State, file_id: FileId) -> FileReply:
    """One file."""
    return FileReply.of(state.files.get(principal.tenant, file_id))


@router.delete("/{file_id}")
def delete_file(principal: Publisher, state: State, file_id: FileId) -> FileDeleted:
    """Deletes a file; refused while a job that has not ended reads it."""
    state.files.delete(principal.tenant, file_id)
    return FileDeleted(id=file_id)


@router.get("/{file_id}/content", response_class=StreamingResponse)
def content(principal: Publisher, state: State, file_id: FileId) -> StreamingResponse:
    """The bytes of a file, as they were sent."""
    file = state.files.get(principal.tenant, file_id)
    headers = {
        "Content-Length": str(file.bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
    }
    stream = state.files.open(principal.tenant, file_id)
    return StreamingResponse(_sent(stream), media_type="application/octet-stream", headers=headers)


@router.get("/{file_id}/report")
async def show_report(
    request: Request,
    principal: Publisher,
    state: State,
    file_id: FileId,
    validation_file: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    max_length: Annotated[int, Query(ge=8, le=1 << 20)] = AskedConfig().max_length,
    method: Literal["supervised", "dpo"] = "supervised",
) -> FileReport:
    """What a job over this file would meet on this server's base: rows, tokens, findings, memory."""
    config = AskedConfig(
        max_length=max_length,
        method="dpo" if method == "dpo" else "sft",
        batch_size="auto",
        learning_rate="auto",
    )
    looked = Looked(training=[WeightedFile(file=file_id)], validation_file=validation_file, config=config)

    def work(_stop: Stop) -> FileReport:
        return FileReport.model_validate(preflight_of(state, principal.tenant, looked))

    return await until_disconnect(request, state.preflights.run(work, Stop()))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _CHUNK_BYTES), b"")


async def _sent(stream: BinaryIO) -> AsyncIterator[bytes]:
    with closing(stream):
        while chunk := await run_in_threadpool(stream.read, _CHUNK_BYTES):
            yield chunk
