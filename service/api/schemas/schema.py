"""What every body has in common: nothing is coerced, and nothing that was sent is silently ignored."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.api.errors.problem import printable

MAX_TEXT_CHARS = 1 << 20
MAX_PROMPTS = 256
MAX_MODELS = 64

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
ModelName = Annotated[str, Field(min_length=1, max_length=255)]


class Schema(BaseModel):
    """A request body or a part of one."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return cls.known_only(data) if isinstance(data, dict) else data

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, once all are known.

        Raises:
            PydanticCustomError: names the one that is not, and the nearest that is.
        """
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data:
            if key not in names:
                nearest = get_close_matches(key, names, n=1, cutoff=0.5)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise PydanticCustomError(
                    "unknown_parameter", "there is no such parameter{hint}", {"parameter": shown(key), "hint": hint}
                )
        return data


class Reply(BaseModel):
    """A response body or a part of one."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def shown(key: str) -> str:
    """A client's key as a message may show it."""
    return printable(key[:80])
