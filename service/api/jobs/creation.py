"""From a request to a job: its files exist, its model is the one served here, and it is not made twice."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from fastapi import Request

from adapters.errors import InvalidAdapterError, InvalidNameError
from base.source import locate
from service.api.auth.keys import Principal
from service.api.errors.problem import ApiError, Problem, invalid
from service.api.state import ServerState
from service.files.errors import UnknownFileError
from service.gate.errors import UnknownGateError
from service.jobs.job import Job
from service.jobs.request import JobRequest, is_metadata_key
from service.registry.publication import check_bounds

REPEATED_WITHIN = timedelta(minutes=15)
"""A client that repeats a request by itself does so within this time."""
_RECENT = 50
_ANY_NAME = "job"
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)


def create_job(request: Request, principal: Principal, state: ServerState, body: JobRequest) -> Job:
    """The job that the body asks for: a new one, or the one that the same request has made before.

    Raises:
        ApiError: 400 or 404, a parameter is to blame.
        JobsError: the tenant has too many jobs, or the key stands for another request.
    """
    repeated = _repeated(request, principal, state, body)
    if repeated is not None:
        return repeated
    key = _key(request)
    # A job that exists is given whatever has become of its files.
    if key is None or not state.jobs.has_made(principal.tenant, key):
        check_request(state, principal.tenant, body)
    return state.jobs.create(principal.tenant, body, idempotency_key=key)


def check_request(state: ServerState, tenant: str, body: JobRequest) -> None:
    """Refuses what no worker could run.

    Raises:
        ApiError: 404, there is no such file or base; 400, a file holds nothing to learn.
    """
    name = served_name(state)
    if body.model != name:
        message = f"model: {body.model[:120]!r} is not the base that is finetuned here, {name!r}"
        raise ApiError(Problem(status=404, message=message, code="model_not_found", param="model"))
    _check_bounds(state, body)
    _check_gate(state, tenant, body)
    for param, file_id in body.named_files():
        try:
            file = state.files.get(tenant, file_id)
        except UnknownFileError as error:
            raise ApiError(Problem(status=404, message=str(error), code="file_not_found", param=param)) from error
        if file.status == "error":
            raise invalid(
                f"{param}: nothing of {file_id} can be learnt: {file.status_details}",
                param=param,
                code="invalid_training_file",
            )


def served_name(state: ServerState) -> str:
    """The base's public id, known before the base is loaded.

    Raises:
        BaseModelError: there is no such base.
    """
    settings, opened = state.settings, state.lifecycle.opened
    if opened is not None:
        return opened.model_name
    return settings.served_model_name or locate(settings.base_model, settings.bases, lambda _line: None).name


def metadata_filter(request: Request) -> Mapping[str, str]:
    """What `metadata[key]=value` in the query asks for.

    Raises:
        ApiError: 400, no key can be so.

    Raises:
        ApiError: 400, a query parameter is none that exists.
    """
    wanted = {}
    for name, value in request.query_params.items():
        match = _METADATA.fullmatch(name)
        if not match:
            continue
        if not is_metadata_key(match[1]):
            message = "metadata: no job has a key with a quotation mark, backslash or control character"
            raise invalid(message, param="metadata")
        wanted[match[1]] = value
    return wanted


def _check_bounds(state: ServerState, body: JobRequest) -> None:
    name = body.suffix or _ANY_NAME
    try:
        check_bounds(name, body.lora.published_rank, served_name(state), state.settings)
    except InvalidNameError as error:
        raise invalid(f"suffix: {error}", param="suffix", code="invalid_name") from error
    except InvalidAdapterError as error:
        raise invalid(f"lora.rank: {error}", param="lora.rank") from error


def _check_gate(state: ServerState, tenant: str, body: JobRequest) -> None:
    if body.gate is None or body.suffix is None:
        return
    try:
        state.gates.get(tenant, body.suffix, body.gate)
    except UnknownGateError as error:
        raise ApiError(Problem(status=404, message=f"gate: {error}", code="gate_not_found", param="gate")) from error


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key is not 1 to 255 visible ASCII characters", param="Idempotency-Key")
    return key


def _repeated(request: Request, principal: Principal, state: ServerState, body: JobRequest) -> Job | None:
    """What the openai client made of this body before it lost the answer; it says only that it tries again."""
    retries = request.headers.get("x-stainless-retry-count", "0")
    if "idempotency-key" in request.headers or not retries.isdecimal() or int(retries[:9]) == 0:
        return None
    since = datetime.now(UTC) - REPEATED_WITHIN
    recent = state.jobs.list(principal.tenant, limit=_RECENT).data
    return next((job for job in recent if job.created_at >= since and job.request == body), None)
