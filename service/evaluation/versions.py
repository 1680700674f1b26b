"""What has been measured of an adapter version, whatever evaluation it was in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from evaluation.runs.runs import RunFilter, Runs

MOST = 20


@dataclass(frozen=True, kw_only=True)
class VersionEvaluation:
    """One evaluation that a version was in, and is through."""

    run_id: str
    suite: str | None
    """Name of the suite; None: its cases have none."""
    suite_digest: str
    num_cases: int
    finished_at: datetime
    metrics: Mapping[str, float]
    """Of the version."""


def evaluations_of(runs: Runs, tenant: str, digest: str) -> Sequence[VersionEvaluation]:
    """The newest evaluations of a version, by its digest: the same content under another name is the same version."""
    found = []
    for run in runs.list(tenant, limit=MOST, wanted=RunFilter(model_digest=digest)):
        position = [model.digest for model in run.models].index(digest)
        if run.results is not None and run.finished_at is not None:
            found.append(
                VersionEvaluation(
                    run_id=run.id,
                    suite=run.suite.name,
                    suite_digest=run.suite.digest,
                    num_cases=run.suite.num_cases,
                    finished_at=run.finished_at,
                    metrics=run.results[position].metrics,
                )
            )
    return found
