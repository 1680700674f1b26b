"""What an evaluation found."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """One model's answer to one case; None where no metric asked for it."""

    index: int
    """The case's."""
    text: str | None = None
    """Generated."""
    finish_reason: str | None = None
    exact_match: float | None = None
    """1.0 or 0.0."""
    rouge_l: float | None = None
    tokens: int | None = None
    """Generated."""
    seconds: float | None = None
    """Of generation, waiting for a place in the batch included."""
    loss: float | None = None
    """Mean over this case's labelled tokens, in nats."""
    labelled_tokens: int | None = None


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

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON types; an infinite perplexity stays a float."""
        return asdict(self)
