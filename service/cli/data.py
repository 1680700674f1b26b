"""`lorad data`: looking at training data before it costs anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from corpus.columns import ColumnMapping
from corpus.dataset import load
from corpus.records import Record
from corpus.split import sample, split
from corpus.writers import write_jsonl
from service.cli.console import FAILED, emit_json, out, say
from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    Device,
    DType,
    Json,
    LabelColumn,
    PromptColumn,
    Quantization,
    SkipBad,
    Template,
    TextColumn,
    settings,
)
from training.config import TrainingConfig

app = typer.Typer(help="Check and split data files.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="JSONL, JSON, CSV or Parquet.")]
_DEFAULTS = TrainingConfig()


@app.command("check")
def check_file(
    file: File,
    validation: Annotated[Path | None, typer.Option(help="Rows to measure by: are they usable, and unseen?")] = None,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    template: Template = "auto",
    max_length: Annotated[int, typer.Option(help="Tokens of a row.")] = _DEFAULTS.max_length,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = _DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(help="Rows of one pass.")] = _DEFAULTS.batch_size,
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = _DEFAULTS.rank,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    json_: Json = False,
) -> None:
    """Look a file over before training on it: rows, template, repetitions, leakage, secrets; steps and memory.

    Ends with status 1 when training on the file would be refused.
    """
    # transformers is loaded here and not sooner: the command line's help must not wait for it.
    from base.source import locate
    from service.cli.data_report import print_preflight
    from service.preflight.run import PreflightRequest, fly

    columns = ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column)
    config = TrainingConfig(max_length=max_length, epochs=epochs, batch_size=batch_size, rank=rank)
    base = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype)
    dataset = load(file, columns, skip_bad=True)
    flight = fly(
        PreflightRequest(
            train=dataset,
            validation=None if validation is None else load(validation, columns, skip_bad=True),
            source=locate(base.base_model, base.bases, say),
            template=template,
            device=base.device,
            dtype=base.dtype,
            quantization=base.quantization,
            config=config,
            skip_bad=skip_bad,
        )
    )
    if json_:
        emit_json(flight.preflight.to_json())
    else:
        print_preflight(out(), flight.preflight, flight.first_row(dataset.records), flight.decode)
    if flight.preflight.refusals:
        raise typer.Exit(FAILED)


@app.command("split")
def split_file(
    file: File,
    train: Annotated[Path, typer.Option(help="File to write the training rows to.")],
    test: Annotated[Path, typer.Option(help="File to write the held-out rows to.")],
    test_fraction: Annotated[float, typer.Option(help="Share of rows held out.")] = 0.1,
    test_size: Annotated[int | None, typer.Option(help="Rows held out, instead of a share.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="First take a seeded, stratified sample of so many.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 0,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    json_: Json = False,
) -> None:
    """Split a file in two, stratified by label where there are labels; equal prompts stay on one side."""
    columns = ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column)
    dataset = load(file, columns, skip_bad)
    records: Sequence[Record] = dataset.records
    if max_rows is not None and max_rows < len(records):
        records = sample(records, max_rows, seed)
    sides = split(records, test_fraction=test_fraction, test_size=test_size, seed=seed)
    for path, side in ((train, sides.train), (test, sides.test)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(side, path)
        if not json_:
            out().print(f"{path}: {len(side)} rows", markup=False)
    if json_:
        emit_json({"train": len(sides.train), "test": len(sides.test), "bad": len(dataset.bad)})
    elif dataset.bad:
        say(f"{len(dataset.bad)} bad rows left out")
