"""`lorad data`: looking at training data before it costs anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from corpus.columns import ColumnMapping
from corpus.dataset import load, load_files
from corpus.records import Record
from corpus.split import sample, split
from corpus.writers import write_jsonl
from service.cli.console import FAILED, emit_json, out, say
from service.cli.data_generate import generate_rows
from service.cli.data_propose import propose_rows
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
    sources,
)
from training.config import AskedConfig, TrainingConfig

app = typer.Typer(help="Check, split and extend data files.", no_args_is_help=True, rich_markup_mode=None)
app.command("generate")(generate_rows)
app.command("propose")(propose_rows)

File = Annotated[Path, typer.Argument(help="JSONL, JSON, CSV or Parquet.")]
_DEFAULTS = TrainingConfig()


@app.command("check")
def check_files(
    files: Annotated[
        list[str], typer.Argument(help="JSONL, JSON, CSV or Parquet; FILE=2 draws its rows twice an epoch.")
    ],
    validation: Annotated[Path | None, typer.Option(help="Rows to measure by: are they usable, and unseen?")] = None,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    template: Template = "auto",
    max_length: Annotated[int, typer.Option(help="Tokens of a row.")] = _DEFAULTS.max_length,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = _DEFAULTS.epochs,
    batch_size: Annotated[str, typer.Option(metavar="INTEGER|auto", help="Rows of one step.")] = str(
        _DEFAULTS.batch_size
    ),
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = _DEFAULTS.rank,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    probe: Annotated[bool, typer.Option("--probe", help="Load the base and measure how long it would take.")] = False,
    json_: Json = False,
) -> None:
    """Look files over before training on them: rows, template, repetitions, leakage, secrets; steps and memory.

    Ends with status 1 when training on them would be refused.
    """
    columns = ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column)
    dataset = load_files(sources(files), columns, skip_bad=True)
    # transformers is loaded here and not sooner: neither help nor a file that cannot be read must wait for it.
    from base.source import locate
    from service.cli.data_report import print_preflight
    from service.preflight.run import PreflightRequest, fly
    from service.preflight.timing import with_time
    from training.rows.cache import TokenCache

    config = _config(max_length=max_length, epochs=epochs, batch_size=batch_size, rank=rank)
    base = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype)
    request = PreflightRequest(
        train=dataset,
        validation=None if validation is None else load(validation, columns, skip_bad=True),
        source=locate(base.base_model, base.bases, say),
        template=template,
        device=base.device,
        dtype=base.dtype,
        quantization=base.quantization,
        config=config,
        skip_bad=skip_bad,
        token_cache=TokenCache(base.token_cache),
    )
    flight = fly(request)
    preflight = with_time(flight, request) if probe else flight.preflight
    if json_:
        emit_json(preflight.to_json())
    else:
        print_preflight(out(), preflight, flight.first_rows(dataset.records), flight.decode)
    if flight.preflight.refusals:
        raise typer.Exit(FAILED)


def _config(**values: Any) -> AskedConfig:
    try:
        return AskedConfig.model_validate(values)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        flag = str(item["loc"][-1]).replace("_", "-")
        raise typer.BadParameter(f"--{flag}: {item['msg']} (given: {item['input']!r})") from error


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
