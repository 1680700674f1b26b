"""Loss and what follows from it, over labelled tokens."""

import math
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import SamplerError
from evaluation.sampler import ScoredContinuation

ROUNDING = 1e-3
"""How far above 0 a log probability may lie: half-precision kernels round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSum:
    """Sums over the labelled tokens of a case: over several, tokens weigh alike and not cases."""

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
