"""Between what an evaluation found and the JSON of its rows, to the last bit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pydantic import JsonValue, TypeAdapter

from evaluation.results import CaseResult, ModelResult
from evaluation.runs.run import Run, RunModel, SuiteIdentity
from evaluation.runs.tables import RunModelRow, RunRow
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings

_FLOAT = "$float"
"""Key of an object that stands for a number which JSON cannot express: a loss that is no number must not become one
that is not there."""

_CASE = TypeAdapter(CaseResult)
_RESULT = TypeAdapter(ModelResult)
_SCORERS = TypeAdapter(tuple[ScorerSpec, ...])
_GENERATION = TypeAdapter(GenerationSettings)


def case_to_json(case: CaseResult) -> dict[str, JsonValue]:
    """A case as its row has it."""
    return _written(asdict(case))  # type: ignore[no-any-return]


def case_of(value: Mapping[str, JsonValue]) -> CaseResult:
    """What `case_to_json` wrote."""
    return _CASE.validate_python(_read(value))


def result_to_json(result: ModelResult) -> dict[str, JsonValue]:
    """A model's result without its cases, as its row has it."""
    return _written(asdict(replace(result, cases=())))  # type: ignore[no-any-return]


def result_of(value: Mapping[str, JsonValue], cases: Sequence[CaseResult] = ()) -> ModelResult:
    """What `result_to_json` wrote, with these cases."""
    return replace(_RESULT.validate_python(_read(value)), cases=tuple(cases))


def scorers_to_json(scorers: Sequence[ScorerSpec]) -> list[JsonValue]:
    """Scorers as a run's row has them."""
    return [_written(asdict(scorer)) for scorer in scorers]


def generation_to_json(generation: GenerationSettings) -> dict[str, JsonValue]:
    """Generation settings as a run's row has them."""
    return _written(asdict(generation))  # type: ignore[no-any-return]


def run_of(row: RunRow, models: Sequence[RunModelRow]) -> Run:
    """What the rows say; results without cases.

    Args:
        row: of the run.
        models: all of it, in order.
    """
    found = [result_of(each.result) for each in models if each.result is not None]
    return Run(
        id=row.id,
        tenant=row.tenant,
        status=row.status,  # type: ignore[arg-type]
        suite=SuiteIdentity(name=row.suite_name, digest=row.suite_digest, num_cases=row.num_cases),
        models=tuple(RunModel(asked=each.asked, model=each.model, digest=each.digest) for each in models),
        scorers=_SCORERS.validate_python(_read(row.scorers)),
        generation=_GENERATION.validate_python(_read(row.generation)),
        base_digest=row.base_digest,
        actor=row.actor,
        judge=row.judge,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        done=row.done,
        total=row.total,
        error=row.error,
        results=tuple(found) if len(found) == len(models) else None,
    )


def _written(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: _read(item) for key, item in value.items()}
    return [_read(item) for item in value] if isinstance(value, list) else value
