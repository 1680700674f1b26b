from collections.abc import Iterator, Sequence

import pytest

from evaluation.harness.errors import AdapterNotAppliedError
from evaluation.harness.proof import AppliedProof, prove_applied
from evaluation.sampler import Completion, GenerateRequest, ScoredContinuation, ScoredGroup, ScoreGroup

PROBES = [ScoreGroup(model=None, context_ids=(1,), continuations=((2, 3), (4,)))]


class Shifted:
    """Every model scores -1, shifted by its own amount at token 3."""

    def __init__(self, **shifts: float) -> None:
        self._shifts = shifts

    def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
        return [
            ScoredGroup(continuations=tuple(self._scored(group.model, each) for each in group.continuations))
            for group in groups
        ]

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
        raise AssertionError(requests)

    def _scored(self, model: str | None, continuation: tuple[int, ...]) -> ScoredContinuation:
        shift = 0.0 if model is None else self._shifts[model]
        logprobs = tuple(-1 - shift * (token == 3) for token in continuation)
        return ScoredContinuation(logprobs=logprobs, is_greedy=(False,) * len(continuation))


def test_what_an_adapter_changes_is_counted() -> None:
    proofs = prove_applied(Shifted(strong=2.0, weak=0.01), ["strong", "weak"], PROBES)
    assert [proof.changed_tokens for proof in proofs] == [1, 1]
    assert proofs[0] == AppliedProof(compared_tokens=3, changed_tokens=1, largest_change_nats=2.0)


def test_an_adapter_that_scores_as_the_base_does_up_to_rounding_is_refused() -> None:
    with pytest.raises(AdapterNotAppliedError, match="silent scores 3 tokens exactly as the base does"):
        prove_applied(Shifted(strong=2.0, silent=1e-6), ["strong", "silent"], PROBES)
