"""`lorad train`: instruction data to an adapter."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from corpus.columns import ColumnMapping
from service.cli.console import duration, emit_json, out, say
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
from service.cli.progress import TrainingProgress
from service.cli.stopping import stop_signal
from service.errors import SettingsError
from service.training_spec import TrainingSpec
from training.config import TrainingConfig
from training.errors import Stopped
from training.events import Event

_DEFAULTS = TrainingConfig()
_COLUMNS = ("prompt", "completion", "text", "label")
_BASE_SETTINGS = ("base_model", "device", "dtype", "quantization", "tenant")
"""Flags that fall back to LORAD_* settings."""


def train(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Training rows: JSONL, JSON, CSV or Parquet.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder that becomes the adapter.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Rows to measure by, kept out of training.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Keep so much of the data out instead.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="Train on a seeded, stratified sample of so many rows.")] = None,
    name: Annotated[str | None, typer.Option(help="Publish the adapter under this name at the end.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A run as JSON; other run flags must not be given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away an earlier run in --output.")] = False,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    template: Template = "auto",
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = _DEFAULTS.epochs,
    max_steps: Annotated[int | None, typer.Option(help="End after so many optimizer steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of one pass.")] = _DEFAULTS.batch_size,
    gradient_accumulation: Annotated[int, typer.Option(help="Passes of one step.")] = _DEFAULTS.gradient_accumulation,
    layout: Annotated[
        Literal["packed", "padded"], typer.Option(help="Rows of a batch end to end, or side by side.")
    ] = _DEFAULTS.layout,
    max_length: Annotated[int, typer.Option(help="Tokens of a row; the rest is cut off and counted.")] = (
        _DEFAULTS.max_length
    ),
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = _DEFAULTS.rank,
    alpha: Annotated[float, typer.Option(help="LoRA alpha; updates are scaled by alpha / rank.")] = _DEFAULTS.alpha,
    dropout: Annotated[float, typer.Option(help="LoRA dropout.")] = _DEFAULTS.dropout,
    target_modules: Annotated[str, typer.Option(help="Linear modules, by comma, or all-linear.")] = "all-linear",
    rslora: Annotated[bool, typer.Option("--rslora", help="Scale by alpha / sqrt(rank).")] = False,
    dora: Annotated[bool, typer.Option("--dora", help="Learn magnitudes apart from directions.")] = False,
    learning_rate: Annotated[float, typer.Option(help="At its peak.")] = _DEFAULTS.learning_rate,
    warmup_ratio: Annotated[float, typer.Option(help="Share of steps with a rising rate.")] = _DEFAULTS.warmup_ratio,
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = _DEFAULTS.weight_decay,
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are scaled to this norm.")] = _DEFAULTS.max_grad_norm,
    seed: Annotated[int, typer.Option(help="Of initialisation, order, dropout and split.")] = _DEFAULTS.seed,
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations; default an epoch.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints; default an epoch.")] = None,
    keep_checkpoints: Annotated[int, typer.Option(help="Newest checkpoints kept.")] = _DEFAULTS.keep_checkpoints,
    json_: Json = False,
) -> None:
    """Train a LoRA or QLoRA adapter.

    SIGTERM and Ctrl-C write a checkpoint and end with status 75 or 130; --resume goes on to the same result.
    With --json every event is one JSON line on stdout, the result last.
    """
    # Every parameter is a flag of the same name; this is the one place that sorts them into the spec's parts.
    flags = dict(locals())
    if spec is not None:
        _refuse_flags_beside_spec(context)
    run = _read_spec(spec, resume=resume) if spec is not None else _spec_of(flags)
    _run(run, json_=json_)


def _refuse_flags_beside_spec(context: typer.Context) -> None:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    odd = [f"--{name.replace('_', '-')}" for name in given if name not in ("spec", "resume", "json_")]
    if odd:
        raise typer.BadParameter(f"--spec says all about the run; leave out {', '.join(odd)} or put it into the file")


def _run(run: TrainingSpec, *, json_: bool) -> None:
    # torch is loaded here and not sooner: the command line's help must not wait for it.
    from service.training_run import run_training

    with stop_signal() as stop, TrainingProgress() as progress:

        def listen(event: Event) -> None:
            if json_:
                emit_json(event.to_json(), indent=None)
            else:
                progress(event)

        try:
            result = run_training(run, settings(), listen, say, stop)
        except Stopped as stopped:
            stopped.interrupted = stop.interrupted
            raise
    if not json_:
        losses = [f"{result.base_valid_loss:.4f} to {result.valid_loss:.4f}"] if result.valid_loss is not None else []
        held_out = f", held-out loss {losses[0]}" if losses else ""
        out().print(
            f"{result.output}: {result.steps} steps, {result.trained_tokens:,} tokens in "
            f"{duration(result.seconds)} ({result.tokens_per_second:.0f} tok/s){held_out}",
            markup=False,
        )
        if result.version:
            out().print(f"published as {result.version} ({result.digest})", markup=False)


def _spec_of(flags: dict[str, Any]) -> TrainingSpec:
    if flags["data"] is None or flags["output"] is None:
        raise typer.BadParameter("give --data FILE and --output FOLDER, or --spec FILE")
    targets = flags["target_modules"]
    config = {key: flags[key] for key in TrainingConfig.model_fields if key != "target_modules"}
    config["target_modules"] = targets if targets == "all-linear" else tuple(targets.split(","))
    base = settings(**{key: flags.get(key) for key in _BASE_SETTINGS})
    own = set(TrainingSpec.model_fields) - {"columns", "config", *_BASE_SETTINGS}
    values = {key: flags[key] for key in own if flags[key] is not None}
    values |= {key: getattr(base, key) for key in _BASE_SETTINGS}
    columns = ColumnMapping(**{part: flags[f"{part}_column"] for part in _COLUMNS})
    return _validated({**values, "columns": columns, "config": config})


def _read_spec(path: Path, *, resume: bool) -> TrainingSpec:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--spec {path} cannot be read: {error.strerror}") from error
    try:
        spec = TrainingSpec.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(f"--spec {path}: {_first(error)}") from error
    return spec.model_copy(update={"resume": spec.resume or resume})


def _validated(values: dict[str, Any]) -> TrainingSpec:
    try:
        return TrainingSpec.model_validate(values)
    except ValidationError as error:
        raise typer.BadParameter(_first(error)) from error


def _first(error: ValidationError) -> str:
    item = error.errors(include_url=False)[0]
    if not item["loc"]:
        return str(item["msg"])
    flag = str(item["loc"][-1]).replace("_", "-")
    return f"--{flag}: {item['msg']} (given: {item['input']!r})"
