"""Where a new row comes from; written into the row itself, so that it cannot be lost on the way to a training run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from corpus.synthetic.drafts import Draft
from corpus.synthetic.judging import Opinion
from corpus.synthetic.rows import PROVENANCE


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Of one row."""

    recipe: str
    model: str
    digest: str | None
    """Of the model's weights; None where nobody can say."""
    seeds: tuple[str, ...]
    """`file:line` of what it was made from, then of the examples that were shown."""
    attempt: int
    """Which attempt of the run it was."""
    sampling: Mapping[str, Any]
    """Temperature and the run's seed; with the attempt they give the same text again."""
    at: str
    """ISO 8601, UTC."""
    judge: Mapping[str, Any] | None = None
    """Its name, score and reason."""


def with_provenance(draft: Draft, provenance: Provenance) -> dict[str, Any]:
    """Return the draft's row with its provenance in a column of its own."""
    return {**draft.record.row, PROVENANCE: {**asdict(provenance), "seeds": list(provenance.seeds)}}


def judged(name: str, opinion: Opinion) -> dict[str, Any]:
    """Return what provenance says of a judge."""
    return {"name": name, "score": opinion.score, "reason": opinion.reason}


def moment(at: datetime) -> str:
    """Return an aware time as provenance has it."""
    return at.isoformat(timespec="seconds")
