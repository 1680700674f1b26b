"""The names of what can be measured. Scorers give them; some scorers give several."""

import difflib
import math
from collections.abc import Sequence
from typing import Final

from evaluation.errors import NothingToDoError, UnknownMetricError

METRICS: Final = (
    "loss", "perplexity", "token_accuracy", "exact_match", "rouge_l", "f1", "bleu", "chrf", "regex", "numeric",
    "json_valid", "json_schema", "json_fields", "sql", "acc", "acc_norm", "accuracy", "macro_f1", "judge",
    "latency_seconds", "tokens_per_second",
)  # fmt: skip
"""`acc` and `acc_norm` are of multiple choice, by the names of lm-evaluation-harness; `accuracy` of classification."""
LOWER_IS_BETTER: Final = frozenset({"loss", "perplexity", "latency_seconds"})
"""Of all other metrics more is better."""


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


def perplexity_of(loss: float) -> float:
    """exp(loss), the loss in nats; infinite where that is too large for a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
