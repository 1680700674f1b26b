"""Options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from corpus.sources import Source, read_source
from service.errors import SettingsError
from service.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
BaseModelName = Annotated[
    str | None, typer.Option("--base-model", help="Catalogue name, folder or hub id; default $LORAD_BASE_MODEL.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where the base runs.")]
DType = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"] | None,
    typer.Option(help="auto: float32 on CPU, bfloat16 on CUDA"),
]
Quantization = Annotated[
    Literal["none", "int8", "nf4"] | None, typer.Option(help="How the base's linear layers are held.")
]
Server = Annotated[
    str | None,
    typer.Option("--server", help="URL of a running server to use; default $LORAD_SERVER, else this process."),
]
PromptColumn = Annotated[str | None, typer.Option(help="Column that holds the prompt.")]
CompletionColumn = Annotated[str | None, typer.Option(help="Column that holds the completion.")]
TextColumn = Annotated[str | None, typer.Option(help="Column that holds a text to classify or to learn whole.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column that holds the class; splits are stratified by it.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Drop and count bad rows instead of refusing the file.")]
Template = Annotated[
    Literal["auto", "chat", "plain"], typer.Option(help="The base's chat template, or plain instruction headings.")
]
DataFile = Annotated[Path, typer.Option("--data", help="JSONL, JSON, CSV or Parquet.", show_default=False)]


def sources(texts: Sequence[str]) -> list[Source]:
    """The data files that were named, with their weights.

    Raises:
        typer.BadParameter: what follows a file is no weight.
    """
    try:
        return [read_source(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def settings(**overrides: Any) -> Settings:
    """The environment's settings with the flags that were given.

    Raises:
        SettingsError: a value is malformed; the message names the variable or flag.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_one_line(item) for item in error.errors(include_url=False))) from error


def _one_line(item: Any) -> str:
    if not item["loc"]:
        # Two settings that do not go together; the message names both.
        return str(item["msg"]).removeprefix("Value error, ")
    name = str(item["loc"][0])
    return f"LORAD_{name.upper()} / --{name.replace('_', '-')}: {item['msg']} (given: {item['input']!r})"
