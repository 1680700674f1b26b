"""`lorad evaluate`: how good the base and adapters are on a file."""

from typing import Annotated, Any

import typer
from rich.table import Table

from corpus.columns import ColumnMapping
from corpus.dataset import load
from corpus.records import Record
from corpus.split import sample
from evaluation.metrics import METRICS, check_metrics
from evaluation.settings import GenerationSettings
from service.cli.client import Client
from service.cli.console import emit_json, err, out
from service.cli.generate import BASE
from service.cli.local import local_inference
from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    DataFile,
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
from service.settings import Settings


def evaluate(
    data: DataFile,
    model: Annotated[list[str] | None, typer.Option(help="Adapter reference, or 'base'; may be repeated.")] = None,
    metrics: Annotated[str, typer.Option(help="By comma.")] = ",".join(METRICS),
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens of an answer at most.")] = 64,
    max_rows: Annotated[int | None, typer.Option(min=1, help="A seeded sample of so many rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
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
    """Measure the base and adapters on a file: loss, perplexity, token accuracy, exact match, ROUGE-L."""
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    names = tuple(metrics.split(","))
    check_metrics(names)
    columns = ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column)
    records = load(data, columns, skip_bad).records
    if max_rows is not None and max_rows < len(records):
        records = tuple(sample(records, max_rows, seed))
    models = [None if name == BASE else name for name in model or [BASE]]
    run = _remote if chosen.server else _local
    results = run(chosen, records, models, names, max_tokens)
    if json_:
        emit_json(results)
        return
    _print_table(results, names)


def _remote(
    chosen: Settings, records: tuple[Record, ...], models: list[str | None], metrics: tuple[str, ...], max_tokens: int
) -> list[dict[str, Any]]:
    assert chosen.server is not None
    cases = [{"messages": list(record.prompt_messages), "completion": record.completion} for record in records]
    body = {"models": models, "cases": cases, "metrics": list(metrics), "max_tokens": max_tokens}
    answer: dict[str, Any] = Client(chosen.server, chosen.api_key).call("POST", "/evaluate", json=body)
    results: list[dict[str, Any]] = answer["results"]
    return results


def _local(
    chosen: Settings, records: tuple[Record, ...], models: list[str | None], metrics: tuple[str, ...], max_tokens: int
) -> list[dict[str, Any]]:
    with local_inference(chosen) as inference, err().status("evaluating") as status:
        # torch is loaded by now; before it, this import would have loaded it.
        from service.evaluation import EvaluationRequest, evaluate_models

        generation = GenerationSettings(max_tokens=max_tokens)
        request = EvaluationRequest(models=tuple(models), records=records, metrics=metrics, generation=generation)

        def progress(done: int, total: int) -> None:
            status.update(f"evaluating: {done} of {total} answers")

        return [result.to_json() for result in evaluate_models(inference, chosen.tenant, request, progress)]


def _print_table(results: list[dict[str, Any]], metrics: tuple[str, ...]) -> None:
    table = Table("model", *metrics, "tok/s", box=None, padding=(0, 2, 0, 0))
    for result in results:
        values = [result["metrics"][metric] for metric in metrics]
        rate = result["tokens_per_second"]
        table.add_row(
            str(result["model"]),
            *("-" if value is None else f"{value:.4f}" for value in values),
            "-" if rate is None else f"{rate:.0f}",
        )
    out().print(table)
