"""The best state of a run so far, by its held-out loss, and how long there has been none better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class Best:
    """The evaluation with the lowest held-out loss."""

    step: int
    valid_loss: float
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else was measured then."""
    bar: float
    """What an evaluation must come below to count as an improvement for early stopping."""
    stale: int = 0
    """Evaluations since one came below the bar."""


def judged(
    best: Best | None, step: int, valid_loss: float, figures: Mapping[str, float], min_delta: float
) -> Best | None:
    """The best after one more evaluation; a loss that is not a number is never it.

    Args:
        best: before it.
        step: of the evaluation.
        valid_loss: what it found.
        figures: what else it found.
        min_delta: by how much a loss must be lower to be an improvement.
    """
    if not math.isfinite(valid_loss):
        return None if best is None else replace(best, stale=best.stale + 1)
    if best is None:
        return Best(step=step, valid_loss=valid_loss, figures=dict(figures), bar=valid_loss - min_delta)
    improved = valid_loss < best.bar
    bar = valid_loss - min_delta if improved else best.bar
    stale = 0 if improved else best.stale + 1
    if valid_loss < best.valid_loss:
        return Best(step=step, valid_loss=valid_loss, figures=dict(figures), bar=bar, stale=stale)
    return replace(best, bar=bar, stale=stale)
