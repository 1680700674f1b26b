"""Loss, perplexity and token accuracy: means over the labelled tokens of all cases, not over cases."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.metrics import perplexity_of
from evaluation.results import CaseResult
from evaluation.scorers.loss import loss_sum
from evaluation.scorers.scorer import Answer, Need, Score


@dataclass(frozen=True)
class LabelScorer:
    """One of the measures of the expected tokens; sub-classes say which."""

    metric = "loss"

    @property
    def metrics(self) -> Sequence[str]:
        """See `Scorer`."""
        return (self.metric,)

    @property
    def needs(self) -> Need:
        """See `Scorer`."""
        return "labels"

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        if not case.num_labelled:
            raise CaseError(f"case {case.index} has no labelled continuation, which {self.metric} needs.")

    def score(self, answer: Answer) -> Score:  # noqa: ARG002
        """Nothing beside `CaseResult.loss`, which every case has whose expected tokens were scored."""
        return Score(values={})

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return {self.metric: _over_tokens([(result.loss, result.labelled_tokens) for result in results])}


@dataclass(frozen=True)
class Loss(LabelScorer):
    """Mean negative log likelihood of a labelled token, in nats."""


@dataclass(frozen=True)
class Perplexity(LabelScorer):
    """exp(loss); infinite where that is too large for a float."""

    metric = "perplexity"

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:
        """See `Scorer`."""
        (loss,) = super().aggregate(cases, results).values()
        return {self.metric: perplexity_of(loss)}


@dataclass(frozen=True)
class TokenAccuracy(LabelScorer):
    """Share of labelled tokens that were the likeliest at their place."""

    metric = "token_accuracy"

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        assert answer.labels is not None
        return Score(values={self.metric: loss_sum(answer.case, answer.labels).token_accuracy})

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        values = [(result.scores.get(self.metric), result.labelled_tokens) for result in results]
        return {self.metric: _over_tokens(values)}


def _over_tokens(values: Sequence[tuple[float | None, int | None]]) -> float:
    known = [(value, tokens) for value, tokens in values if value is not None and tokens]
    total = sum(tokens for _, tokens in known)
    return math.fsum(value * tokens for value, tokens in known) / total if total else math.nan
