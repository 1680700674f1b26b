"""From exceptions to responses: one handler a kind, and a last one for what nobody foresaw."""

import logging
import re
from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors.mapping import ROOTS, problem_of
from service.api.errors.problem import ApiError, Problem, printable
from service.api.middleware.request_id import request_id
from service.engine.errors import DeadlineError

_log = logging.getLogger(__name__)

_TAG = re.compile(r"<.*>|constrained-\w+|(literal|tuple|list|dict)\[.*\]", re.DOTALL)
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_MESSAGES = {404: "there is no such route", 405: "this route does not take that method"}


def add_error_handlers(app: FastAPI) -> None:
    """Let every error answer in OpenAI's shape."""
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for root in ROOTS:
        app.add_exception_handler(root, _domain_error)


class LastResort:
    """Answers 500 to whatever the handlers let through, and logs it. Nothing of the error reaches the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            _log.exception("request %s failed", request_id(scope))
            await _response(request_id(scope), problem_of(error))(scope, receive, send)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    problem = _validation_problem(cast(RequestValidationError, error).errors())
    return _response(request_id(request.scope), problem)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    raised = cast(HTTPException, error)
    if isinstance(raised, ApiError):
        problem = raised.problem
    else:
        status = raised.status_code
        problem = Problem(
            status=status, message=_MESSAGES.get(status, str(raised.detail)), code=_CODES.get(status, "invalid_request")
        )
    response = _response(request_id(request.scope), problem)
    response.headers.update(raised.headers or {})
    return response


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    # A deadline is the request's own; nothing has failed.
    if problem.status >= 500 and not isinstance(error, DeadlineError):
        _log.error("request %s failed", request_id(request.scope), exc_info=error)
    return _response(request_id(request.scope), problem)


def _response(request: str, problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(request), problem.status, problem.headers)


def _validation_problem(errors: Sequence[Any]) -> Problem:
    """The first thing that is wrong, never with the value that was sent."""
    first = errors[0]
    kind, message, context = first["type"], _message(errors), first.get("ctx") or {}
    where = [str(part) for part in first["loc"][1:] if not _is_tag(part)]
    if kind == "json_invalid":
        return Problem(status=400, message=f"the body is not JSON: {context.get('error')}", code="invalid_json")
    if not where and kind in ("missing", "model_attributes_type", "model_type", "dict_type"):
        message = "the body must be a JSON object, sent with Content-Type: application/json"
    if "parameter" in context:
        where.append(str(context["parameter"]))
    param = printable(".".join(where))[:200] or None
    code = kind if kind in ("unknown_parameter", "unsupported_parameter") else "invalid_value"
    if kind == "extra_forbidden":
        code, message = "unknown_parameter", "there is no such parameter"
    if kind == "missing" and where:
        code, message = "missing_parameter", "this parameter is required"
    return Problem(
        status=400,
        message=message if not param or message.startswith(f"{param} ") else f"{param}: {message}",
        code=code,
        param=param,
        hint=context.get("advice"),
    )


def _message(errors: Sequence[Any]) -> str:
    """What is wrong with the first place; of a union, what each of its branches would take."""
    place = errors[0]["loc"]
    if not _is_tag(place[-1]):
        return str(errors[0]["msg"])
    branches = [str(error["msg"]) for error in errors if error["loc"][:-1] == place[:-1]]
    return " or ".join([branches[0], *(branch.removeprefix("Input should be ") for branch in branches[1:])])


def _is_tag(part: object) -> bool:
    """Whether a part of a location is the name of a union's branch and nothing that the client wrote."""
    return isinstance(part, str) and _TAG.fullmatch(part) is not None
