"""How long answers took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.results import CaseResult
from evaluation.scorers.scorer import Answer, MeanScorer, Score, mean


@dataclass(frozen=True)
class Latency(MeanScorer):
    """Seconds of an answer and its tokens per second, both in the mixed batch and with the wait for a place in it.

    `ModelResult.tokens_per_second` is another measure: what a model got out of the whole batch's wall time.
    """

    metrics = ("latency_seconds", "tokens_per_second")

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        if answer.completion is None:
            return Score(values=dict.fromkeys(self.metrics))
        seconds, tokens = answer.completion.seconds, len(answer.completion.token_ids)
        speed = tokens / seconds if seconds else None
        return Score(values={"latency_seconds": seconds, "tokens_per_second": speed})

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:  # noqa: ARG002
        """The mean latency, and all tokens over all seconds."""
        timed = [(result.tokens or 0, result.seconds) for result in results if result.seconds]
        seconds = math.fsum(each for _, each in timed)
        speed = sum(tokens for tokens, _ in timed) / seconds if seconds else math.nan
        return {"latency_seconds": mean(results, "latency_seconds"), "tokens_per_second": speed}
