"""Forms that carry one file and one text."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from service.api.errors.problem import invalid

_FILE = "file"
_MAX_FILES, _MAX_FIELDS = 2, 8
"""More than are wanted, so that an error can name what is too much."""


@dataclass(frozen=True)
class FileForm:
    """What the form holds."""

    text: str
    """Of the one field beside the file."""
    filename: str
    """As the client calls it; maybe empty."""
    file: BinaryIO


@asynccontextmanager
async def read_form(request: Request, field: str, kinds: str) -> AsyncIterator[FileForm]:
    """The form of a request, for the time of the block; what is beyond a mebibyte of the file lies on disk.

    Read here and not by FastAPI, which would take in the whole file before it asks who sends it.

    Args:
        request: whose body is the form.
        field: name of the field beside the file.
        kinds: what the file may be, for the message.

    Raises:
        ApiError: 400, a field is missing or unknown; 413, it is too large.
    """
    async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=1024) as form:
        yield _checked(form, field, kinds)


def _checked(form: FormData, field: str, kinds: str) -> FileForm:
    for key in form:
        if key not in (_FILE, field):
            raise invalid(f"there is no such field; send {_FILE} and {field}", param=key[:80], code="unknown_parameter")
    text, file = form.get(field), form.get(_FILE)
    if not isinstance(text, str):
        raise invalid(
            f"{field}: this field is required; send multipart/form-data with {_FILE} and {field}",
            param=field,
            code="missing_parameter",
        )
    if not isinstance(file, UploadFile):
        raise invalid(f"{_FILE}: this field must hold {kinds}", param=_FILE, code="missing_parameter")
    return FileForm(text, file.filename or "", file.file)
