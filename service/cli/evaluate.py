"""`lorad evaluate`: how good the base and adapters are on a suite or a file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from corpus.columns import ColumnMapping
from evaluation.scorers.catalogue import create
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.suite import Suite
from service.cli.case_sources import CaseSource, SuiteOption, read_cases
from service.cli.console import FAILED, emit_json, out, say
from service.cli.evaluations import metrics_table
from service.cli.generate import BASE
from service.cli.measuring import Asked, measure
from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    Device,
    DType,
    Json,
    LabelColumn,
    PromptColumn,
    Quantization,
    Server,
    SkipBad,
    TextColumn,
    settings,
)

DATA_MAX_TOKENS = 64

Data = Annotated[Path | None, typer.Option("--data", help="Each row is a case: JSONL, JSON, CSV or Parquet.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        help='Scorers: names by comma, or NAME={"KEY": VALUE} with parameters; repeatable. Default: the suite\'s.'
    ),
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="New tokens of an answer; default the suite's, else 64.")]
MaxRows = Annotated[int | None, typer.Option(min=1, help="A seeded sample of so many rows of --data.")]


def evaluate(
    data: Data = None,
    suite: SuiteOption = None,
    model: Annotated[list[str] | None, typer.Option(help="Adapter reference, or 'base'; may be repeated.")] = None,
    metrics: Metrics = None,
    max_tokens: MaxTokens = None,
    max_rows: MaxRows = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Folder to write the report to: HTML, Markdown, JSON.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a partial or cancelled evaluation: eval-…")] = None,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Measure the base and adapters on a suite or a file, all in one mixed batch, and keep what was found.

    Ends with status 1 where cases have no score; the evaluation can then be resumed.
    """
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    scorers = scorer_specs(metrics)
    cases: str | Suite | None = None
    if resume is None:
        columns = ColumnMapping(
            prompt=prompt_column, completion=completion_column, text=text_column, label=label_column
        )
        source = CaseSource(data=data, suite=suite, columns=columns, skip_bad=skip_bad, max_rows=max_rows, seed=seed)
        cases = read_cases(source, chosen)
    asked = Asked(
        models=tuple(None if name == BASE else name for name in model or [BASE]),
        cases=cases,
        scorers=scorers,
        max_tokens=max_tokens or (DATA_MAX_TOKENS if data else None),
        resume=resume,
        report=report,
    )
    run = measure(chosen, asked)
    _print(run, json_=json_)
    if run["status"] != "completed":
        raise typer.Exit(FAILED)


def scorer_specs(texts: list[str] | None) -> tuple[ScorerSpec, ...]:
    """The scorers that flags name.

    Raises:
        typer.BadParameter: parameters are no JSON object.
        UnknownScorerError: there is no such scorer, or not with these parameters.
    """
    specs = tuple(_scorer(name) for text in texts or () for name in ([text] if "=" in text else text.split(",")))
    for spec in specs:
        # Before a base is loaded for nothing.
        create(spec)
    return specs


def _scorer(text: str) -> ScorerSpec:
    name, sign, params = text.partition("=")
    try:
        found: Any = json.loads(params) if sign else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter(f'{text!r} is not NAME or NAME={{"KEY": VALUE}}', param_hint="--metrics")
    return ScorerSpec(name, found)


def _print(run: dict[str, Any], *, json_: bool) -> None:
    if json_:
        emit_json(run)
        return
    out().print(metrics_table(run["results"] or []))
    say(f"{run['id']} is {run['status']}" + (f": {run['error']}" if run["error"] else ""))
