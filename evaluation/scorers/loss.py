"""Loss and what follows from it, over labelled tokens."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import SamplerError
from evaluation.sampler import ScoredContinuation

ROUNDING = 1e-3
"""How far above 0 a log probability may lie: half-precision kernels round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSum:
    """Sums over labelled tokens; add them up before dividing, so that long cases weigh as much as their tokens."""

    nll: float
    """Sum of negative log probabilities, in nats."""
    num_tokens: int
    num_greedy: int
    """Tokens that were the likeliest at their place."""

    @property
    def loss(self) -> float:
        """Mean negative log likelihood of a token, in nats; NaN without tokens."""
        return self.nll / self.num_tokens if self.num_tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is too large for a float."""
        try:
            return math.exp(self.loss)
        except OverflowError:
            return math.inf

    @property
    def token_accuracy(self) -> float:
        """Share of tokens that were the likeliest at their place; NaN without tokens."""
        return self.num_greedy / self.num_tokens if self.num_tokens else math.nan


def loss_sum(case: Case, scored: ScoredContinuation) -> LossSum:
    """Sum one case.

    Raises:
        SamplerError: The scores do not fit the case, or are no log probabilities.
    """
    expected = len(case.continuation_ids)
    if not len(scored.logprobs) == len(scored.is_greedy) == expected:
        got = f"{len(scored.logprobs)} log probabilities and {len(scored.is_greedy)} greedy marks"
        raise SamplerError(f"case {case.index}: {got} for {expected} tokens.")
    if not all(logprob <= ROUNDING for logprob in scored.logprobs):  # false for NaN as well
        raise SamplerError(f"case {case.index}: a log probability is NaN or above 0.")
    labelled = case.labelled or (True,) * expected
    return LossSum(
        nll=-math.fsum(logprob for logprob, counts in zip(scored.logprobs, labelled, strict=True) if counts),
        num_tokens=sum(labelled),
        num_greedy=sum(greedy and counts for greedy, counts in zip(scored.is_greedy, labelled, strict=True)),
    )


def total(sums: Iterable[LossSum]) -> LossSum:
    """Add sums up."""
    every = list(sums)
    return LossSum(
        nll=math.fsum(item.nll for item in every),
        num_tokens=sum(item.num_tokens for item in every),
        num_greedy=sum(item.num_greedy for item in every),
    )
