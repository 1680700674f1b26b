"""What a model gave on cases."""

import math
from dataclasses import asdict
from typing import Any

from pydantic import JsonValue

from evaluation.results import CaseResult, ModelResult
from service.api.schemas.schema import Reply


class CaseReply(Reply):
    """One model's answer to one case; null where no scorer asked for it."""

    index: int
    text: str | None
    finish_reason: str | None
    tokens: int | None
    seconds: float | None
    loss: float | None
    labelled_tokens: int | None
    scores: dict[str, float | None]
    """By metric; null where the case has no value, or none that is finite."""
    details: dict[str, JsonValue]
    """How a score came about: what was predicted, what a judge said, why a query failed."""
    findings: list[str]
    """What is wrong with the answer, whatever its scores are."""
    error: str | None
    """Why the case has no score, where that is not the model's fault."""

    @classmethod
    def of(cls, result: CaseResult) -> "CaseReply":
        """Of what was measured."""
        return cls.model_validate(_finite(asdict(result)))


class ConfusionReply(Reply):
    """How often each label was answered by each."""

    labels: list[str]
    """The right ones, a row each."""
    predicted: list[str]
    """What was answered, a column each; the last is for answers that are no label."""
    counts: list[list[int]]


class ModelReply(Reply):
    """One model on all cases."""

    model: str
    """What answered: the base's id, or the pinned `name:N`."""
    metrics: dict[str, float | None]
    """null where a value is not finite."""
    cases: list[CaseReply]
    prompt_tokens: int
    completion_tokens: int
    labelled_tokens: int
    tokens_per_second: float | None
    tags: dict[str, dict[str, float | None]]
    """The metrics of the cases that have a tag, by tag."""
    confusion: ConfusionReply | None
    """Of classification."""

    @classmethod
    def of(cls, result: ModelResult) -> "ModelReply":
        """Of what was measured."""
        return cls.model_validate(_finite(result.to_json()))


def finite(value: float | None) -> float | None:
    """The value, or None for what JSON cannot express."""
    return value if value is not None and math.isfinite(value) else None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
