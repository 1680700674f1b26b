"""A suite that a client sent: one JSON or YAML body, or a form of a YAML file and the JSONL beside it."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from evaluation.suites.reader import read
from evaluation.suites.suite import Suite
from service.api.auth.principal import Publisher
from service.api.errors.problem import invalid
from service.api.uploads.cases import check_size

_SUITE, _CASES = "suite", "cases"
_FIELDS = f"send multipart/form-data with the files {_SUITE} (YAML) and {_CASES} (JSONL), or one JSON or YAML body"

FORMS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "A suite with its cases in it."}},
            "application/yaml": {"schema": {"type": "string", "description": "A suite with its cases in it."}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [_SUITE],
                    "properties": {
                        _SUITE: {"type": "string", "format": "binary", "description": "YAML"},
                        _CASES: {
                            "type": "string",
                            "format": "binary",
                            "description": "JSONL, under the name that the YAML file calls it",
                        },
                    },
                }
            },
        },
    }
}


async def read_suite(request: Request, _rights: Publisher) -> Suite:
    """The suite that a request holds.

    Raises:
        ApiError: 400, the form is not as it should be, or there are too many cases.
        SuiteError: what is wrong, with the case's number and the field.
    """
    with tempfile.TemporaryDirectory(prefix="lorad-suite-") as made:
        folder = Path(made)
        async with _written(request, folder) as path:
            suite = await run_in_threadpool(read, path)
    check_size(suite)
    return suite


@asynccontextmanager
async def _written(request: Request, folder: Path) -> AsyncIterator[Path]:
    path = folder / "suite.yaml"
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        await run_in_threadpool(path.write_bytes, await request.body())
        yield path
        return
    async with request.form(max_files=2, max_fields=0) as form:
        for field in form:
            if field not in (_SUITE, _CASES):
                raise invalid(f"there is no such field; {_FIELDS}", param=field[:80], code="unknown_parameter")
        suite, cases = form.get(_SUITE), form.get(_CASES)
        if not isinstance(suite, UploadFile):
            raise invalid(f"{_SUITE}: this file is required; {_FIELDS}", param=_SUITE, code="missing_parameter")
        if isinstance(cases, UploadFile):
            # One component: a name may say anything.
            await run_in_threadpool(_save, cases, folder / (Path(cases.filename or "").name or "cases.jsonl"))
        await run_in_threadpool(_save, suite, path)
        yield path


def _save(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
