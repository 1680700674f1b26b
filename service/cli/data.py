"""`lorad data`: looking at training data before it costs anything."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from corpus.columns import ColumnMapping
from corpus.dataset import load
from corpus.records import Record
from corpus.report import check
from corpus.split import sample, split
from corpus.tokens import Tokens
from corpus.writers import write_jsonl
from service.cli.console import FAILED, emit_json, out, say
from service.cli.data_report import print_report
from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    Json,
    LabelColumn,
    PromptColumn,
    SkipBad,
    Template,
    TextColumn,
    settings,
)
from training.config import TrainingConfig

app = typer.Typer(help="Check and split data files.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(help="JSONL, JSON, CSV or Parquet.")]


@app.command("check")
def check_file(
    file: File,
    test: Annotated[Path | None, typer.Option(help="Held-out file to look for leakage in.")] = None,
    base_model: BaseModelName = None,
    template: Template = "auto",
    max_length: Annotated[int, typer.Option(help="Tokens of a row.")] = TrainingConfig().max_length,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    json_: Json = False,
) -> None:
    """Report on a file: rows, tokens, truncation, duplicates, leakage, and the first row as the model sees it.

    Ends with status 1 when training on the file would be refused.
    """
    columns = ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column)
    dataset = load(file, columns, skip_bad=True)
    held_out = None if test is None else load(test, columns, skip_bad=True)
    tokenise, decode = _tokeniser(settings(base_model=base_model).base_model, template)
    report = check(dataset, tokenise=tokenise, max_length=max_length, test=held_out, skip_bad=skip_bad)
    if json_:
        emit_json(report.to_json())
    else:
        print_report(out(), report, dataset, tokenise, decode)
    if report.problems:
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


def _tokeniser(base_model: str, template: Template) -> tuple[Callable[[Record], Tokens], Callable[[int], str]]:
    # transformers is loaded here and not sooner: the command line's help must not wait for it.
    from base.loader import load_tokenizer
    from base.rendering import create_renderer
    from base.source import locate
    from training.examples import Encoder

    tokenizer = load_tokenizer(locate(base_model, settings().bases, say))
    encoder = Encoder(tokenizer, create_renderer(tokenizer, template))
    return encoder, lambda token: str(tokenizer.decode([token]))
