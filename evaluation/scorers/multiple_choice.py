"""Multiple choice by log-likelihood, as lm-evaluation-harness computes `acc` and `acc_norm`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.scorers.scorer import Answer, MeanScorer, Need, Score


@dataclass(frozen=True)
class MultipleChoice(MeanScorer):
    """Whether the right choice is the likeliest: of all choices, and after division by each one's length."""

    metrics = ("acc", "acc_norm")

    @property
    def needs(self) -> Need:
        """See `Scorer`."""
        return "choices"

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        if len(case.choices) < 2:
            raise CaseError(f"case {case.index} has {len(case.choices)} choices; give at least two in `choices`.")
        if case.gold is None or not 0 <= case.gold < len(case.choices):
            raise CaseError(
                f"case {case.index}: gold is {case.gold}; it must be the right choice's index, 0 to "
                f"{len(case.choices) - 1}."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`; a tie goes to the first choice."""
        case = answer.case
        sums = [math.fsum(choice.logprobs) for choice in answer.choices]
        # In characters, as the harness divides.
        per_character = [total / max(1, len(text)) for total, text in zip(sums, case.choice_texts, strict=True)]
        best, best_normalised = _likeliest(sums), _likeliest(per_character)
        return Score(
            values={"acc": float(best == case.gold), "acc_norm": float(best_normalised == case.gold)},
            details={
                "choice": best,
                "choice_normalised": best_normalised,
                "gold": case.gold,
                "choice_logprobs": list[JsonValue](sums),
            },
        )


def _likeliest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
