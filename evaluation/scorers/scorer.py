"""The seam between an evaluation and what measures one answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.results import CaseResult
from evaluation.sampler import Completion, ScoredContinuation

Need = Literal["labels", "choices", "text"]
"""What a scorer looks at: the log probabilities of the expected tokens, of every choice, or a generated text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All that one model said to one case; what no scorer needs is None or empty."""

    case: Case
    labels: ScoredContinuation | None = None
    """Of `case.continuation_ids`."""
    choices: tuple[ScoredContinuation, ...] = ()
    """In the order of `case.choices`."""
    completion: Completion | None = None

    @property
    def text(self) -> str:
        """What was generated; empty where nothing was."""
        return "" if self.completion is None else self.completion.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a scorer found in one answer."""

    values: Mapping[str, float | None]
    """By metric; None where this case has no value."""
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    """For people and for the aggregation: the predicted label, the choice, an error of the query."""
    error: str | None = None
    """Why there is no value, where that is nobody's answer: the judge is down. The run is partial then."""


class Scorer(Protocol):
    """Measures answers; made for each evaluation from a `ScorerSpec`, so that its parameters are checked once."""

    @property
    def metrics(self) -> Sequence[str]:
        """Names of what `aggregate` gives, the most telling first; they are in `evaluation.metrics.METRICS`."""

    @property
    def needs(self) -> Need:
        """What it looks at."""

    def check(self, case: Case) -> None:
        """Before anything is asked of a model.

        Raises:
            CaseError: names the case, the field that is missing or wrong, and the fix.
        """

    def score(self, answer: Answer) -> Score:
        """Measure one answer. What a model said raises nothing; an answer that cannot be read scores 0."""

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:
        """The metrics of the cases that this scorer measured, out of what was stored of them; NaN without any.

        Args:
            cases: In the order of `results`; only those that have this scorer.
            results: One for each case, its scores and details those of all scorers together.
        """


def mean(results: Sequence[CaseResult], metric: str) -> float:
    """The mean of a metric over the cases that have a value; NaN without any."""
    known = [value for result in results if (value := result.scores.get(metric)) is not None]
    return math.fsum(known) / len(known) if known else math.nan


class MeanScorer:
    """A base for scorers of generated texts whose metrics are means over cases; sub-classes add `metrics`, `score`."""

    metrics: Sequence[str] = ()

    @property
    def needs(self) -> Need:
        """See `Scorer`."""
        return "text"

    def check(self, case: Case) -> None:
        """See `Scorer`."""

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return {metric: mean(results, metric) for metric in self.metrics}


class ReferenceScorer(MeanScorer):
    """A base for those that hold an answer against the case's completion."""

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        if not case.reference.strip():
            raise CaseError(
                f"case {case.index} has no completion, which {self.metrics[0]} needs; give what the model should say."
            )
