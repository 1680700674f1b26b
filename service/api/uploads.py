"""An archive that a client sent, as the next version of a name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

from adapters.archive import ArchiveLimits, unpack
from adapters.publication import Submission
from adapters.reference import check_name
from adapters.version import Version
from service.api.errors import invalid
from service.api.keys import Principal
from service.api.principal import Publisher
from service.api.state import ServerState
from service.inference import Inference
from service.publication import publish_bounded

_FIELDS = ("file", "name")


@dataclass(frozen=True)
class Upload:
    """What the form holds."""

    name: str
    file: BinaryIO


async def _read_upload(request: Request, _rights: Publisher) -> AsyncIterator[Upload]:
    # Read here and not by FastAPI, which would take in the whole file before it asks who sends it.
    async with request.form(max_files=1, max_fields=1, max_part_size=1024) as form:
        yield _checked(form)


Uploaded = Annotated[Upload, Depends(_read_upload)]
"""The form of an upload, closed after the response."""


def publish_upload(inference: Inference, state: ServerState, principal: Principal, upload: Upload) -> Version:
    """Unpacks and checks the archive and publishes what it holds.

    Raises:
        InvalidNameError: the name is malformed, or the base's own.
        InvalidAdapterError: the archive or what it holds cannot be used here.
        BaseMismatchError: it was made for another base.
    """
    check_name(upload.name)
    limits = ArchiveLimits(archive_bytes=state.settings.max_upload_bytes)
    with state.registry.folders.stage() as folder:
        unpack(upload.file, folder, limits)
        submission = Submission(tenant=principal.tenant, name=upload.name, folder=folder, source="upload")
        return publish_bounded(state.registry, submission, inference.facts, state.settings)


def _checked(form: FormData) -> Upload:
    for key in form:
        if key not in _FIELDS:
            raise invalid("there is no such field; send file and name", param=key[:80], code="unknown_parameter")
    name, file = form.get("name"), form.get("file")
    if not isinstance(name, str):
        raise invalid(
            "name: this field is required; send multipart/form-data with file and name",
            param="name",
            code="missing_parameter",
        )
    if not isinstance(file, UploadFile):
        raise invalid("file: this field must hold a .zip or .tar.gz file", param="file", code="missing_parameter")
    return Upload(name, file.file)
