"""The names of what can be measured, and what each needs from a model."""

import difflib
from collections.abc import Sequence

from evaluation.errors import NothingToDoError, UnknownMetricError

SCORED = ("loss", "perplexity", "token_accuracy")
"""Need the log probabilities of the expected text."""
GENERATED = ("exact_match", "rouge_l")
"""Need a generated text."""
METRICS = SCORED + GENERATED


def check_metrics(metrics: Sequence[str]) -> None:
    """Check that every metric is known.

    Raises:
        UnknownMetricError: One is not.
        NothingToDoError: There are none.
    """
    if not metrics:
        raise NothingToDoError(f"No metric was asked for. Known metrics: {', '.join(METRICS)}.")
    for metric in metrics:
        if metric not in METRICS:
            nearest = difflib.get_close_matches(metric, METRICS, n=1, cutoff=0.4)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise UnknownMetricError(f"Unknown metric {metric!r}.{hint} Known metrics: {', '.join(METRICS)}.")


def needs_score(metrics: Sequence[str]) -> bool:
    """Say whether any of the metrics needs log probabilities."""
    return any(metric in SCORED for metric in metrics)


def needs_generate(metrics: Sequence[str]) -> bool:
    """Say whether any of the metrics needs a generated text."""
    return any(metric in GENERATED for metric in metrics)
