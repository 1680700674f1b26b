"""What a client is told when something goes wrong: OpenAI's error object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One error as HTTP shows it.

    The status is never 408 or 409, and 429 only when waiting helps: the openai client repeats such requests by itself.
    """

    status: int
    message: str
    code: str
    """For programs; stays the same whatever the message says."""
    param: str | None = None
    """The offending parameter, dotted: `messages.0.content`."""
    hint: str | None = None
    """What to do about it, where the message does not say."""
    retry_after_seconds: int | None = None

    @property
    def type(self) -> str:
        """OpenAI's kind of error."""
        return _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        headers = {}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.retry_after_seconds)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON that is sent."""
        error: dict[str, Any] = {
            "message": printable(self.message),
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
        }
        if self.hint is not None:
            error["hint"] = printable(self.hint)
        return {"error": error}


class ApiError(HTTPException):
    """Raised by the API's own code; domain packages know no HTTP and raise their own errors.

    An `HTTPException`, because FastAPI turns any other error that occurs while a body is read into its own 400.
    """

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.status, problem.message, {**problem.headers, **(headers or {})})
        self.problem = problem


def invalid(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """A request that cannot be fulfilled as it is."""
    return ApiError(Problem(status=400, message=message, code=code, param=param))


def printable(text: str) -> str:
    """The text with whatever UTF-8 cannot express written as an escape: clients may send half characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
