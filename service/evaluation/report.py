"""A stored run as a report."""

from contextlib import suppress
from pathlib import Path

from corpus.messages import content_text
from evaluation.errors import ComparisonError
from evaluation.reports.blocks import Report
from evaluation.reports.content import Compared, Provenance, build_report
from evaluation.reports.failures import Question
from evaluation.reports.files import write_report
from evaluation.results import ModelResult
from evaluation.runs.run import Run
from evaluation.statistics.comparison import compare_results
from evaluation.suites.suite import Suite, SuiteCase
from service.evaluation.run import Desk


def run_report(desk: Desk, run: Run) -> Report:
    """The report of a run that is through; its other models are compared with the first.

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
    )


def write_run_report(desk: Desk, run: Run, folder: Path) -> None:
    """Writes it as a folder.

    Raises:
        RunStateError: the run is not through.
        ReportError: the folder holds something else.
    """
    write_report(run_report(desk, run), folder)


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
