"""No body beyond the limit enters memory or disk, whatever its headers say."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors.problem import ApiError, Problem


class BodyLimit:
    """Ends a request with 413 as soon as its body exceeds the limit: at the header, or while it streams in.

    Args:
        app: what is wrapped.
        max_body_bytes: of most requests.
        uploads: the paths whose POST carries files, and how large it may be.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, uploads: Mapping[str, int]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._uploads = dict(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_bytes(scope)
        left_bytes = limit_bytes
        declared = Headers(scope=scope).get("content-length", "")

        async def limited() -> Message:
            nonlocal left_bytes
            # Raised where the body is read, so that the error's handler, further in, answers.
            if declared.isdecimal() and int(declared[:20]) > limit_bytes:
                raise _too_large(limit_bytes)
            message = await receive()
            if message["type"] == "http.request":
                left_bytes -= len(message.get("body", b""))
                if left_bytes < 0:
                    raise _too_large(limit_bytes)
            return message

        await self._app(scope, limited, send)

    def _limit_bytes(self, scope: Scope) -> int:
        uploads = self._uploads if scope["method"] == "POST" else {}
        return uploads.get(scope["path"], self._max_body_bytes)


def _too_large(limit_bytes: int) -> ApiError:
    problem = Problem(
        status=413, message=f"the body has more than {limit_bytes} bytes, the limit here", code="request_too_large"
    )
    return ApiError(problem, headers={"Connection": "close"})
