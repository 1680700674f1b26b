"""Two stored evaluations of the same cases, model by model."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.errors import ComparisonError
from evaluation.results import ModelResult
from evaluation.runs.run import Run
from evaluation.runs.runs import Runs
from evaluation.scorers.spec import ScorerSpec
from evaluation.statistics.comparison import compare_results
from evaluation.statistics.paired import Difference


@dataclass(frozen=True, kw_only=True)
class Side:
    """A stored run, or one of its models."""

    run_id: str
    model: str | None = None
    """As the run names it, or as it was asked for; None: all of them."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model after another."""

    before: ModelResult
    before_run: str
    after: ModelResult
    after_run: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two models on the same cases."""

    before_run: Run
    before: ModelResult
    after_run: Run
    after: ModelResult


def compare_runs(runs: Runs, tenant: str, before: Side, after: Side) -> list[Comparison]:
    """Hold each model of `after` against the one of `before`, or the one in its place where that has several.

    Within one run the baseline is its first model, if none is named.

    Raises:
        UnknownRunError: there is no such run.
        RunStateError: a run is not through.
        ComparisonError: the runs had other cases, scorers or judges, or their models do not pair.
    """
    found = pair_runs(runs, tenant, before, after)
    _refuse_other_scoring(found[0].before_run, found[0].after_run)
    return [
        Comparison(
            before=each.before,
            before_run=each.before_run.id,
            after=each.after,
            after_run=each.after_run.id,
            differences=compare_results(each.before, each.after),
        )
        for each in found
    ]


def pair_runs(runs: Runs, tenant: str, before: Side, after: Side) -> list[Paired]:
    """The models that `compare_runs` holds against each other; at least one pair.

    Raises:
        UnknownRunError: there is no such run.
        RunStateError: a run is not through.
        ComparisonError: the runs had other cases, or their models do not pair.
    """
    old_run, new_run = runs.get(tenant, before.run_id), runs.get(tenant, after.run_id)
    if old_run.suite.digest != new_run.suite.digest:
        raise ComparisonError(
            f"{old_run.id} ran {_named(old_run)} and {new_run.id} ran {_named(new_run)}: only runs of the same cases "
            "can be compared; evaluate both models on one suite"
        )
    old, new = _chosen(runs, old_run, before.model), _chosen(runs, new_run, after.model)
    if old_run.id == new_run.id:
        old = old[:1]
        new = [each for each in new if each.model != old[0].model]
    pairs = _pairs(old, new)
    if not pairs:
        raise ComparisonError(
            f"{len(old)} models of {old_run.id} and {len(new)} others of {new_run.id} make no pairs; name one of each"
        )
    return [Paired(before_run=old_run, before=left, after_run=new_run, after=right) for left, right in pairs]


def _refuse_other_scoring(old: Run, new: Run) -> None:
    """A metric of one name is one measure only where scorer, its parameters and the judge are the same."""
    theirs = {spec.name: spec for spec in old.scorers}
    for spec in new.scorers:
        if spec.name in theirs and theirs[spec.name] != spec:
            raise ComparisonError(
                f"{old.id} and {new.id} scored {spec.name} with other parameters: {_parameters(theirs[spec.name])} and "
                f"{_parameters(spec)}; evaluate both models with the same"
            )
    if old.judge != new.judge and "judge" in theirs and any(spec.name == "judge" for spec in new.scorers):
        raise ComparisonError(
            f"{old.id} was judged by {old.judge or 'the operator model'} and {new.id} by "
            f"{new.judge or 'the operator model'}; let one judge see both"
        )


def _parameters(spec: ScorerSpec) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in spec.params.items())[:200] or "none"


def _pairs(old: Sequence[ModelResult], new: Sequence[ModelResult]) -> list[tuple[ModelResult, ModelResult]]:
    if len(old) == 1:
        return [(old[0], each) for each in new]
    return list(zip(old, new, strict=True)) if len(old) == len(new) else []


def _chosen(runs: Runs, run: Run, wanted: str | None) -> Sequence[ModelResult]:
    results = runs.results(run.tenant, run.id)
    if wanted is None:
        return results
    for model, result in zip(run.models, results, strict=True):
        if wanted in (model.model, model.asked):
            return [result]
    names = ", ".join(model.model for model in run.models)
    raise ComparisonError(f"{run.id} has no model {wanted[:120]!r}; it has {names}")


def _named(run: Run) -> str:
    return f"{run.suite.name or 'cases without a name'} ({run.suite.digest[:19]})"
