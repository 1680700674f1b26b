"""What an evaluation found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import JsonValue


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """One model's answer to one case; None where no metric asked for it."""

    index: int
    """The case's."""
    text: str | None = None
    """Generated."""
    finish_reason: str | None = None
    tokens: int | None = None
    """Generated."""
    seconds: float | None = None
    """Of generation, waiting for a place in the batch included."""
    loss: float | None = None
    """Mean over this case's labelled tokens, in nats."""
    labelled_tokens: int | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """By metric; higher is better unless the metric is in `LOWER_IS_BETTER`."""
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    """How a score came about: what was predicted, what a judge said, why a query failed."""
    findings: tuple[str, ...] = ()
    """What is wrong with the answer, whatever its scores are: `repetition`, `empty`, …"""
    error: str | None = None
    """Why the case has no score, where that is not the model's fault: the run is then partial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often each label was answered by each."""

    labels: tuple[str, ...]
    """The right ones, a row each."""
    predicted: tuple[str, ...]
    """What was answered, a column each; the last is for answers that are no label."""
    counts: tuple[tuple[int, ...], ...]
    """[labels][predicted]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelResult:
    """One model on all cases."""

    model: str | None
    """Adapter reference; None is the base."""
    metrics: dict[str, float]
    """The metrics that were asked for, in that order."""
    cases: tuple[CaseResult, ...]
    """In the order of the cases."""
    prompt_tokens: int
    """Of generation, over all cases."""
    completion_tokens: int
    """Generated, over all cases."""
    labelled_tokens: int
    """Scored and counted, over all cases."""
    tokens_per_second: float | None
    """Generated tokens over the wall time of the whole mixed batch: the models' figures add up to the batch's. None
    where nothing was generated."""
    tags: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The metrics of the cases that have a tag, by tag."""
    confusion: Confusion | None = None
    """Of classification."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON types; an infinite perplexity stays a float."""
        return asdict(self)
