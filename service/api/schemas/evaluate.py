"""`/evaluate`."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adapters.reference import NAME
from evaluation.results import ModelResult
from service.api.schemas.messages import Messages
from service.api.schemas.sampling import MaxTokens
from service.api.schemas.schema import MAX_MODELS, ModelName, Reply, Schema, Text
from service.evaluation import DEFAULT_METRICS

Metric = Annotated[str, Field(min_length=1, max_length=64)]


class CaseBody(Schema):
    """One test example."""

    prompt: Text | None = None
    """One user turn."""
    messages: Messages | None = None
    completion: Annotated[str, Field(min_length=1, max_length=1 << 20)]
    """What the model should say."""

    @model_validator(mode="after")
    def _check_prompt(self) -> "CaseBody":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("invalid_value", "give either prompt or messages", {"parameter": "prompt"})
        return self


class EvaluateBody(Schema):
    """Models to be measured on cases."""

    models: Annotated[list[ModelName | None], Field(min_length=1, max_length=MAX_MODELS)]
    """References; null is the base."""
    cases: Annotated[list[CaseBody], Field(min_length=1, max_length=10_000)] | None = None
    dataset: Annotated[str, Field(pattern=f"^{NAME.pattern}$", max_length=64)] | None = None
    """Name of a data file that the operator has put into `datasets/<tenant>` of the server's home."""
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=16)] = Field(
        default_factory=lambda: list(DEFAULT_METRICS)
    )
    max_tokens: MaxTokens | None = None

    @model_validator(mode="after")
    def _check_source(self) -> "EvaluateBody":
        if (self.cases is None) == (self.dataset is None):
            raise PydanticCustomError("invalid_value", "give either cases or dataset", {"parameter": "cases"})
        return self


class CaseReply(Reply):
    """One model's answer to one case; null where no metric asked for it."""

    index: int
    text: str | None
    finish_reason: str | None
    exact_match: float | None
    rouge_l: float | None
    tokens: int | None
    seconds: float | None
    loss: float | None
    labelled_tokens: int | None


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

    @classmethod
    def of(cls, result: ModelResult) -> "ModelReply":
        """Of what was measured."""
        fields = result.to_json()
        fields["metrics"] = {name: finite(value) for name, value in result.metrics.items()}
        for case in fields["cases"]:
            case["loss"] = finite(case["loss"])
        return cls.model_validate({**fields, "cases": list(fields["cases"])})


class EvaluateReply(Reply):
    """What was found."""

    id: str
    status: Literal["completed"] = "completed"
    results: list[ModelReply]
    """In the order of `models`."""


def finite(value: float | None) -> float | None:
    """The value, or None for what JSON cannot express."""
    return value if value is not None and math.isfinite(value) else None
