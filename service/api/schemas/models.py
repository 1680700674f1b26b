"""`/v1/models`."""

from typing import Literal

from service.api.schemas.schema import Reply


class Model(Reply):
    """The base, or an adapter on it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "lorad"
    root: str
    """Digest of what answers under this id now."""
    parent: str | None
    """The base's id; null for the base itself."""
    max_model_len: int
    """Prompt and answer together, in tokens."""


class ModelList(Reply):
    """The base first, then adapters by name."""

    object: Literal["list"] = "list"
    data: list[Model]
