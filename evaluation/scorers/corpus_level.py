"""Metrics of sacrebleu over all answers together."""

import math
from collections.abc import Sequence

from sacrebleu.metrics.base import Metric

from evaluation.cases import Case
from evaluation.results import CaseResult


def answered(metric: Metric, cases: Sequence[Case], results: Sequence[CaseResult]) -> float:
    """The corpus score of the cases that have an answer, from 0 to 1; NaN without any."""
    pairs = [
        (result.text, case.reference) for case, result in zip(cases, results, strict=True) if result.text is not None
    ]
    if not pairs:
        return math.nan
    texts, references = zip(*pairs, strict=True)
    return float(metric.corpus_score(list(texts), [list(references)]).score) / 100
