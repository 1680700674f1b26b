"""What a request on OpenAI's routes wants to be answered by."""

from service.api.errors.problem import invalid
from service.api.schemas.adapter_use import merged
from service.api.schemas.openai import OpenAIRequest
from service.inference.target import ModelChoice, WeightedAdapter


def openai_choice(body: OpenAIRequest, base_name: str) -> ModelChoice:
    """The model, at the scale that the request wants, or the merge.

    Raises:
        ApiError: a merge under an adapter's name, or the base scaled.
    """
    if body.merge is not None:
        if body.model != base_name:
            raise invalid(f"model must name the base, {base_name!r}, where adapters are merged onto it", param="model")
        return merged(body.merge)
    if body.adapter_scale is None:
        return body.model
    if body.model == base_name:
        raise invalid(f"model {base_name!r} is the base, which has no scale", param="adapter_scale")
    return (WeightedAdapter(body.model, body.adapter_scale),)


def blamed_param(body: OpenAIRequest) -> str:
    """What a complaint about the adapters names."""
    if body.merge is not None:
        return "merge"
    return "model" if body.adapter_scale is None else "adapter_scale"
