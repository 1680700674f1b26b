"""Who asks, and whether they may: the one dependency of every route that is not open to all."""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from service.api.auth.keys import DEFAULT_TENANT, SCOPES, Principal
from service.api.errors.problem import ApiError, Problem
from service.api.middleware.request_id import access_record
from service.api.state import State, ready_inference
from service.inference.inference import Inference

OPEN_PATHS = frozenset({"/live", "/health", "/version", "/docs", "/docs/oauth2-redirect", "/openapi.json"})
"""Answered without a key."""

_bearer = HTTPBearer(auto_error=False, description="A key of LORAD_API_KEYS.")


async def authenticate(
    request: Request,
    required: SecurityScopes,
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Principal:
    """The principal behind a request. Runs before any name in it is looked at.

    Raises:
        ApiError: 401 without a valid key; 403 where the key lacks a scope.
    """
    if state.keys:
        principal = state.keys.principal(credentials.credentials) if credentials is not None else None
        if principal is None:
            raise _unauthenticated(given=credentials is not None)
    else:
        _refuse_foreign_pages(request)
        principal = Principal(DEFAULT_TENANT, SCOPES)
    access_record(request.scope).tenant = principal.tenant
    missing = [scope for scope in required.scopes if scope not in principal.scopes]
    if missing:
        raise _forbidden(missing[0])
    return principal


Caller = Annotated[Principal, Security(authenticate)]
"""Anybody with a key."""
Reader = Annotated[Principal, Security(authenticate, scopes=["infer"])]
"""May read and generate."""
Publisher = Annotated[Principal, Security(authenticate, scopes=["train"])]
"""May change adapters."""
Operator = Annotated[Principal, Security(authenticate, scopes=["admin"])]
"""May manage the server."""


async def _inference_after_rights(
    _caller: Caller, inference: Annotated[Inference, Depends(ready_inference)]
) -> Inference:
    return inference


Ready = Annotated[Inference, Depends(_inference_after_rights)]
"""What answers; 503 until it is loaded. Strangers get 401 all the same."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reachable from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_foreign_pages(request: Request) -> None:
    """Without keys a browser on this machine could be made to call us by any page it visits."""
    origin = request.headers.get("origin")
    hosts = [_hostname(f"//{request.headers.get('host', '')}")] + ([] if origin is None else [_hostname(origin)])
    if not all(is_loopback(host) for host in hosts):
        message = "a server without keys answers local callers only, and no web page of another host"
        raise ApiError(
            Problem(status=403, message=message, code="untrusted_host", hint="set LORAD_API_KEYS=tenant=key")
        )


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _unauthenticated(*, given: bool) -> ApiError:
    message = "the API key is not valid" if given else "an API key is needed: send Authorization: Bearer KEY"
    return ApiError(Problem(status=401, message=message, code="invalid_api_key"))


def _forbidden(scope: str) -> ApiError:
    return ApiError(Problem(status=403, message=f"this API key lacks the scope {scope!r}", code="insufficient_scope"))
