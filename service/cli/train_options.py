"""The flags of `lorad train`, by what they are about."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    Device,
    DType,
    LabelColumn,
    PromptColumn,
    Quantization,
    SkipBad,
    Template,
    TextColumn,
)
from service.trackers.opening import TRACKERS
from training.config import TrainingConfig

_DEFAULTS = TrainingConfig()


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where the run goes."""

    output: Annotated[Path | None, typer.Option(help="Folder that becomes the adapter, or holds the runs.")] = None
    init_from: Annotated[
        str | None, typer.Option(help="Go on from an adapter: a version (support:3), or a folder in PEFT's format.")
    ] = None
    name: Annotated[str | None, typer.Option(help="Publish the adapter under this name at the end.")] = None
    spec: Annotated[Path | None, typer.Option(help="A run as JSON; other run flags must not be given.")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away an earlier run in --output.")] = False
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Also record the figures in {', '.join(TRACKERS)}; repeatable, metrics.jsonl is always written."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is learnt, and what it is measured by."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Training rows: JSONL, JSON, CSV or Parquet; repeatable, FILE=2 draws its rows twice an epoch."
        ),
    ] = None
    validation: Annotated[Path | None, typer.Option(help="Rows to measure by, kept out of training.")] = None
    validation_fraction: Annotated[float | None, typer.Option(help="Keep so much of the data out instead.")] = None
    max_rows: Annotated[int | None, typer.Option(help="Train on a seeded, stratified sample of so many rows.")] = None
    data_fraction: Annotated[
        float | None, typer.Option(help="Learn only this share of the training rows; the rows held out stay the same.")
    ] = None
    template: Template = "auto"
    prompt_column: PromptColumn = None
    completion_column: CompletionColumn = None
    text_column: TextColumn = None
    label_column: LabelColumn = None
    skip_bad: SkipBad = False


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """The base, and how it is held."""

    base_model: BaseModelName = None
    quantization: Quantization = None
    device: Device = None
    dtype: DType = None


@dataclass(frozen=True, kw_only=True)
class ConfigOptions:
    """How it is trained: a flag for each field of `TrainingConfig`."""

    method: Annotated[
        Literal["sft", "dpo"], typer.Option(help="Learn the answers, or to prefer chosen over rejected ones.")
    ] = _DEFAULTS.method
    dpo_beta: Annotated[float, typer.Option(help="DPO: how dear it is to leave the base.")] = _DEFAULTS.dpo_beta
    dpo_label_smoothing: Annotated[float, typer.Option(help="DPO: share of pairs in the wrong order.")] = (
        _DEFAULTS.dpo_label_smoothing
    )
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = _DEFAULTS.epochs
    max_steps: Annotated[int | None, typer.Option(help="End after so many optimizer steps.")] = None
    batch_size: Annotated[
        str, typer.Option(metavar="INTEGER|auto", help="Rows of a step, times the next; auto: by rows and memory.")
    ] = str(_DEFAULTS.batch_size)
    gradient_accumulation: Annotated[int, typer.Option(help="Batches of one step.")] = _DEFAULTS.gradient_accumulation
    layout: Annotated[
        Literal["packed", "padded"], typer.Option(help="Rows of a batch end to end, or side by side.")
    ] = _DEFAULTS.layout
    length_buckets: Annotated[
        bool, typer.Option("--length-buckets", help="Padded: steps of rows of like length, for less padding.")
    ] = False
    pack_tokens: Annotated[int, typer.Option(help="Most tokens of one pass when packed.")] = _DEFAULTS.pack_tokens
    activation_checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="Less memory, about a third slower.")
    ] = False
    max_length: Annotated[int, typer.Option(help="Tokens of a row; the rest is cut off and counted.")] = (
        _DEFAULTS.max_length
    )
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = _DEFAULTS.rank
    alpha: Annotated[float, typer.Option(help="LoRA alpha; updates are scaled by alpha / rank.")] = _DEFAULTS.alpha
    dropout: Annotated[float, typer.Option(help="LoRA dropout.")] = _DEFAULTS.dropout
    target_modules: Annotated[str, typer.Option(help="Linear modules, by comma, or all-linear.")] = "all-linear"
    rslora: Annotated[bool, typer.Option("--rslora", help="Scale by alpha / sqrt(rank).")] = False
    dora: Annotated[bool, typer.Option("--dora", help="Learn magnitudes apart from directions.")] = False
    init: Annotated[
        Literal["default", "pissa", "olora"], typer.Option(help="Begin at zero, or with a part of the base's weights.")
    ] = _DEFAULTS.init
    optimizer: Annotated[
        Literal["adamw", "adamw_8bit", "paged_adamw_8bit"], typer.Option(help="Paged: on CUDA only.")
    ] = _DEFAULTS.optimizer
    learning_rate: Annotated[
        str, typer.Option(metavar="FLOAT|auto", help="At its peak; auto: by the base's family and size.")
    ] = str(_DEFAULTS.learning_rate)
    lora_plus_ratio: Annotated[float | None, typer.Option(help="LoRA+: rate of B over A, 16 for one.")] = None
    warmup_ratio: Annotated[float, typer.Option(help="Share of steps with a rising rate.")] = _DEFAULTS.warmup_ratio
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = _DEFAULTS.weight_decay
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are scaled to this norm.")] = _DEFAULTS.max_grad_norm
    seed: Annotated[int, typer.Option(help="Of initialisation, order, dropout and split.")] = _DEFAULTS.seed
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations; default an epoch.")] = None
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints; default an epoch.")] = None
    keep_checkpoints: Annotated[int, typer.Option(help="Newest checkpoints kept.")] = _DEFAULTS.keep_checkpoints
    load_best_model_at_end: Annotated[
        bool, typer.Option(help="With held-out rows: publish the state with the lowest loss on them.")
    ] = _DEFAULTS.load_best_model_at_end
    early_stopping_patience: Annotated[
        int | None, typer.Option(help="End after so many evaluations without an improvement.")
    ] = None
    early_stopping_min_delta: Annotated[
        float, typer.Option(help="By how much the loss must fall to be an improvement.")
    ] = _DEFAULTS.early_stopping_min_delta

    def values(self) -> dict[str, Any]:
        """The fields of a `TrainingConfig`."""
        targets = self.target_modules
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**found, "target_modules": targets if targets == "all-linear" else tuple(targets.split(","))}


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Several runs at once instead of one; at most one of these."""

    data_fractions: Annotated[
        str | None,
        typer.Option(help="One run for each share of the training rows, by comma (0.1,0.3,1.0); a report with a plot."),
    ] = None
    bases: Annotated[
        str | None,
        typer.Option(help="One run for each base, by comma; bits per byte against size and compute, with a plot."),
    ] = None
    sweep: Annotated[
        Path | None, typer.Option(help="A search space as TOML: one run for each trial, the best one published.")
    ] = None
