"""How a request names what answers: the base, an adapter, an adapter at a strength, or several merged."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from service.api.schemas.schema import ModelName, Schema
from service.inference.target import ModelChoice, WeightedAdapter

MAX_MERGED = 8
Weight = Annotated[float, Field(ge=-10, le=10)]


class WeightedBody(Schema):
    """One part of a merge."""

    adapter: ModelName
    """A reference."""
    weight: Weight
    """Its change of the base is multiplied by this; 1 is the adapter as it was trained."""


MergedParts = Annotated[list[WeightedBody], Field(min_length=1, max_length=MAX_MERGED)]


class MergeBody(Schema):
    """Several adapters at once: their weighted changes are summed."""

    merge: MergedParts


class ScaleBody(Schema):
    """One adapter, weaker or stronger than it was trained."""

    adapter: ModelName
    scale: Weight


def _kind(value: Any) -> str | None:
    if isinstance(value, str | ScaleBody | MergeBody):
        return {str: "<reference>", ScaleBody: "<scale>", MergeBody: "<merge>"}[type(value)]
    if not isinstance(value, dict):
        return None
    return "<merge>" if "merge" in value else "<scale>"


AdapterBody = Annotated[
    Annotated[ModelName, Tag("<reference>")]
    | Annotated[ScaleBody, Tag("<scale>")]
    | Annotated[MergeBody, Tag("<merge>")],
    Discriminator(
        _kind,
        custom_error_type="invalid_value",
        custom_error_message='must be a reference, {"adapter", "scale"} or {"merge": [{"adapter", "weight"}, ...]}',
    ),
]


def model_choice(body: str | ScaleBody | MergeBody | None) -> ModelChoice:
    """What the body means; None is the base."""
    if isinstance(body, ScaleBody):
        return (WeightedAdapter(body.adapter, body.scale),)
    if isinstance(body, MergeBody):
        return merged(body.merge)
    return body


def merged(parts: Sequence[WeightedBody]) -> ModelChoice:
    """The weighted sum of adapters."""
    return tuple(WeightedAdapter(part.adapter, part.weight) for part in parts)
