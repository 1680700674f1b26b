"""A stored run as a report."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from corpus.messages import content_text
from evaluation.errors import ComparisonError, ReportError
from evaluation.reports.blocks import Report
from evaluation.reports.content import Compared, Provenance, build_report
from evaluation.reports.failures import Question
from evaluation.reports.files import write_report
from evaluation.results import ModelResult
from evaluation.runs.run import Run
from evaluation.statistics.comparison import compare_results
from evaluation.suites.suite import Suite, SuiteCase
from service.evaluation.run import Desk


def run_report(desk: Desk, run: Run, curve: Mapping[str, Any] | None = None) -> Report:
    """The report of a run that is through; its other models are compared with the first.

    Args:
        desk: where runs are.
        run: of it.
        curve: of the study of data sizes that its model came of, for one plot more.

    Raises:
        RunStateError: it is not through.
    """
    results = desk.runs.results(run.tenant, run.id)
    suite = desk.suites.content(run.tenant, run.suite.digest)
    return build_report(
        _provenance(run, suite),
        results,
        {index: _question(case) for index, case in enumerate(suite.cases)},
        _compared(results),
        curve,
    )


def read_curve(study: Path) -> Mapping[str, Any]:
    """The curve of a study of data sizes, out of its folder.

    Raises:
        ReportError: there is none, or it is of another kind.
    """
    path = study / "curve.json" if study.is_dir() else study
    try:
        curve = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read as a study's curve: {error}") from error
    if not isinstance(curve, dict) or curve.get("kind") != "data_size":
        raise ReportError(f"{path} is no curve of data sizes; lorad train --data-fractions 0.1,0.3,1.0 makes one")
    return curve


def write_run_report(
    desk: Desk, run: Run, folder: Path, curve: Mapping[str, Any] | None = None, *, overwrite: bool = False
) -> None:
    """Writes it as a folder.

    Args:
        desk: where runs are.
        run: of it.
        folder: new or empty.
        curve: as of `run_report`.
        overwrite: an earlier report there may go.

    Raises:
        RunStateError: the run is not through.
        ReportError: the folder holds something else.
    """
    write_report(run_report(desk, run, curve), folder, overwrite=overwrite)


def _compared(results: tuple[ModelResult, ...]) -> list[Compared]:
    first, *others = results
    found = []
    for other in others:
        # Where a judge was down for all of a model's cases nothing can be compared; the report says so elsewhere.
        with suppress(ComparisonError):
            differences = compare_results(first, other)
            found.append(Compared(before=first.model or "base", after=other.model or "base", differences=differences))
    return found


def _provenance(run: Run, suite: Suite) -> Provenance:
    scorers = run.scorers or suite.scorers
    generation = run.generation
    finished = "" if run.finished_at is None else run.finished_at.isoformat(timespec="seconds")
    sampling = f"temperature {generation.temperature:g}" if generation.temperature else "greedy"
    facts = [
        ("evaluation", run.id),
        ("suite", f"{run.suite.name or 'cases of the request'}, {run.suite.num_cases} cases, {run.suite.digest}"),
        *(("model", f"{model.model}, {model.digest}") for model in run.models),
        ("scorers", ", ".join(scorer.name for scorer in scorers) or "of the cases"),
        ("answers", f"{sampling}, at most {generation.max_tokens} tokens"),
        ("finished", finished),
    ]
    models = " and ".join(model.model for model in run.models)
    return Provenance(
        title=f"{models} on {run.suite.name or f'{run.suite.num_cases} cases'}",
        facts=tuple(facts),
        note=f"This evaluation is partial: {run.error}" if run.status == "partial" else None,
    )


def _question(case: SuiteCase) -> Question:
    asked = case.prompt if case.prompt is not None else "\n".join(content_text(each) for each in case.messages)
    expected = case.completion
    if expected is None:
        expected = case.choices[case.gold] if case.choices and case.gold is not None else ""
    return Question(prompt=asked, expected=expected, tags=case.tags)
