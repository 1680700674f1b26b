"""`/v1/load_lora_adapter` and `/v1/unload_lora_adapter`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from service.api.schemas.schema import ModelName, Reply, Schema

_PATH = "lora_path"


class LoraBody(Schema):
    """Which adapter is meant."""

    lora_name: ModelName
    """A reference into the registry: name, name:N or name@alias."""

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also says what to do instead of sending vLLM's path."""
        if _PATH in data:
            raise PydanticCustomError(
                "unsupported_parameter",
                "adapters are loaded from the registry and never from a path",
                {"parameter": _PATH, "advice": "publish the adapter by POST /v1/adapters, then name it in lora_name"},
            )
        return super().known_only(data)


class Unloaded(Reply):
    """What may leave the device again."""

    object: Literal["list"] = "list"
    unloaded: list[str]
    """The pinned `name:N` of each."""
