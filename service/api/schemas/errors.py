"""What every error looks like."""

from typing import Literal

from pydantic import ConfigDict

from service.api.schemas.schema import Reply


class ErrorBody(Reply):
    """OpenAI's error object; `request_id` and `hint` are lorad's."""

    message: str
    type: Literal[
        "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"
    ]
    param: str | None
    """The parameter to blame, dotted: `lora.rank`."""
    code: str
    """For programs."""
    request_id: str
    hint: str | None = None


class ErrorReply(Reply):
    """The body of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "suffix: 'My Model' is not valid: use 1 to 64 of a-z, 0-9, '.', '_', '-'; "
                        "the first a letter or digit",
                        "type": "invalid_request_error",
                        "param": "suffix",
                        "code": "invalid_value",
                        "request_id": "5f3c1a9be0a24f0c9a3e7b1d2c4e6f80",
                    }
                }
            ]
        }
    )

    error: ErrorBody
