"""Whether an adapter acts: an evaluation that measures the base under an adapter's name looks like any other.

(lm-evaluation-harness issue 511 is such a case.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.harness.errors import AdapterNotAppliedError
from evaluation.sampler import Sampler, ScoredGroup, ScoreGroup

_NOISE_NATS = 1e-4
"""What rounding may change when a batch holds something else."""


@dataclass(frozen=True, kw_only=True)
class AppliedProof:
    """The adapter's scores held against the base's on the same tokens."""

    compared_tokens: int
    changed_tokens: int
    """Those whose logprob differs by more than rounding."""
    largest_change_nats: float


def prove_applied(sampler: Sampler, models: Sequence[str], probes: Sequence[ScoreGroup]) -> list[AppliedProof]:
    """What each adapter changes; all are asked together.

    Args:
        sampler: runs the models.
        models: adapter references.
        probes: what is scored; whose model they name does not matter.

    Raises:
        AdapterNotAppliedError: an adapter changes nothing.
    """
    asked = [
        ScoreGroup(model=model, context_ids=probe.context_ids, continuations=probe.continuations)
        for model in (None, *models)
        for probe in probes
    ]
    found = [_logprobs(group) for group in sampler.score(asked)]
    num = len(probes)
    base = [value for each in found[:num] for value in each]
    return [
        _proof(model, base, [value for each in found[num * at : num * (at + 1)] for value in each])
        for at, model in enumerate(models, start=1)
    ]


def _proof(model: str, base: Sequence[float], adapted: Sequence[float]) -> AppliedProof:
    changes = [abs(before - after) for before, after in zip(base, adapted, strict=True)]
    if max(changes) <= _NOISE_NATS:
        raise AdapterNotAppliedError(
            f"{model} scores {len(changes)} tokens exactly as the base does, so nothing was measured of it: its "
            "weights change nothing, or were not applied. An adapter that was never trained does so (its B is zero)."
        )
    return AppliedProof(
        compared_tokens=len(changes),
        changed_tokens=sum(change > _NOISE_NATS for change in changes),
        largest_change_nats=max(changes),
    )


def _logprobs(group: ScoredGroup) -> list[float]:
    return [logprob for each in group.continuations for logprob in each.logprobs]
