"""One training run in this process: files to records to tokens to an adapter folder, and into the registry."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.files import ADAPTER_FILES
from adapters.publication import Submission
from adapters.version import Version
from base.loader import LoadedBase, LoadOptions, load
from base.rendering import create_renderer
from base.shapes import module_shapes
from base.source import locate
from corpus.dataset import Dataset
from corpus.dataset import load as load_dataset
from corpus.records import Record
from corpus.split import leakage, sample, split
from service.publication import check_bounds, publish_bounded
from service.registry import open_registry
from service.settings import Settings
from service.training_spec import TrainingSpec
from training.errors import ConfigError
from training.events import Event, Listener, WarningEvent
from training.examples import Encoder, Prepared, prepare, refuse
from training.loop import Trainer
from training.lora import LoraLinear, targeted
from training.output import Finished, write_output
from training.run import TrainingData, TrainingResult


@dataclass(frozen=True, kw_only=True)
class ResultEvent(Event):
    """The run is over; the last event of every successful one."""

    name = "result"
    output: str
    steps: int
    tokens_per_second: float
    train_loss: float
    valid_loss: float | None
    base_valid_loss: float | None
    trained_tokens: int
    seconds: float
    peak_memory_bytes: int
    version: str | None
    """The pinned reference under which it was published."""
    digest: str | None


@dataclass(frozen=True)
class _Rows:
    train: tuple[Record, ...]
    valid: tuple[Record, ...]
    train_file: Dataset
    valid_file: Dataset | None


def run_training(
    spec: TrainingSpec,
    settings: Settings,
    listen: Listener,
    report: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> ResultEvent:
    """Runs `spec` from its files to its adapter.

    What can be refused is refused before the first step, and the output folder is touched after that.

    Raises:
        CorpusError, BaseModelError, TrainingError, AdapterError: with what is wrong and how to mend it.
    """
    _refuse_occupied(spec)
    rows = _read_rows(spec, listen)
    source = locate(spec.base_model, settings.bases, report)
    if spec.name is not None:
        check_bounds(spec.name, spec.config.rank, source.name, settings)
    report(f"loading {source.name}")
    options = LoadOptions(device=spec.device, dtype=spec.dtype, quantization=spec.quantization)
    base = load(source, options)
    facts = BaseFacts(name=base.name, digest=base.digest, linear_shapes=module_shapes(base.model))
    # Refused before `overwrite` clears the folder.
    targeted(facts.linear_shapes, spec.config.target_modules)
    result = _train(spec, base, rows, listen, should_stop)
    version = None if spec.name is None else _publish(spec, settings, facts, result, rows)
    event = _result_event(result, version)
    listen(event)
    return event


def _refuse_occupied(spec: TrainingSpec) -> None:
    checkpoints = spec.output / "checkpoints"
    if spec.output.exists() and not spec.output.is_dir():
        raise ConfigError(f"--output {spec.output} is a file; name a folder")
    occupied = any((spec.output / name).exists() for name in ADAPTER_FILES) or checkpoints.exists()
    if occupied and not (spec.resume or spec.overwrite):
        raise ConfigError(f"--output {spec.output} holds an earlier run; add --resume or --overwrite, or name another")


def _read_rows(spec: TrainingSpec, listen: Listener) -> _Rows:
    train_file = load_dataset(spec.data, spec.columns, spec.skip_bad)
    train: tuple[Record, ...] = train_file.records
    valid: tuple[Record, ...] = ()
    valid_file: Dataset | None = None
    if spec.max_rows is not None and spec.max_rows < len(train):
        train = tuple(sample(train, spec.max_rows, spec.config.seed))
    if spec.validation is not None:
        valid_file = load_dataset(spec.validation, spec.columns, spec.skip_bad)
        valid = valid_file.records
    elif spec.validation_fraction is not None:
        sides = split(train, test_fraction=spec.validation_fraction, seed=spec.config.seed)
        train, valid = sides.train, sides.test
    for dataset in (train_file, *([valid_file] if valid_file else [])):
        for notice in dataset.warnings:
            listen(WarningEvent(code=notice.code, message=f"{dataset.path}: {notice.message}"))
    leaks = [leak for leak in leakage(train, valid) if leak.exact] if valid else []
    if leaks:
        message = f"{len(leaks)} validation rows ask what a training row asks; the measured loss is too good"
        listen(WarningEvent(code="leakage", message=message))
    return _Rows(train, valid, train_file, valid_file)


def _train(
    spec: TrainingSpec, base: LoadedBase, rows: _Rows, listen: Listener, should_stop: Callable[[], bool]
) -> TrainingResult:
    renderer = create_renderer(base.tokenizer, spec.template)
    encoder = Encoder(base.tokenizer, renderer)
    # A row beyond the base's context could be learnt but never asked for.
    max_length = min(spec.config.max_length, base.context_tokens)
    data = TrainingData(
        train=_prepared(rows.train, encoder, max_length, spec, listen),
        valid=_prepared(rows.valid, encoder, max_length, spec, listen) if rows.valid else None,
        digest=f"sha256:{rows.train_file.digest}",
        valid_digest=None if rows.valid_file is None else f"sha256:{rows.valid_file.digest}",
    )
    if spec.overwrite:
        _clear(spec.output)

    def finish(layers: dict[str, LoraLinear], adapter: LoraConfig, result: TrainingResult) -> None:
        told = Finished(base=base, renderer=renderer, config=spec.config, data=data, result=result)
        write_output(spec.output, layers, adapter, told)

    trainer = Trainer(base, spec.config, data, spec.output, listen=listen, should_stop=should_stop)
    return trainer.run(finish, resume=spec.resume)


def _prepared(
    records: tuple[Record, ...], encoder: Encoder, max_length: int, spec: TrainingSpec, listen: Listener
) -> Prepared:
    prepared = prepare(records, encoder, max_length)
    refuse(prepared, skip_bad=spec.skip_bad)
    if prepared.refused:
        message = f"{len(prepared.refused)} rows without a labelled token were dropped"
        listen(WarningEvent(code="unlabelled", message=message))
    if prepared.num_truncated:
        message = f"{prepared.num_truncated} rows were cut off at {max_length} tokens"
        listen(WarningEvent(code="truncated", message=message))
    return prepared


def _clear(output: Path) -> None:
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    for name in ADAPTER_FILES:
        (output / name).unlink(missing_ok=True)


def _publish(spec: TrainingSpec, settings: Settings, facts: BaseFacts, result: TrainingResult, rows: _Rows) -> Version:
    assert spec.name is not None
    lineage: dict[str, Any] = {"data": str(spec.data), "data_digest": f"sha256:{rows.train_file.digest}"}
    metrics = {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
    submission = Submission(
        tenant=spec.tenant, name=spec.name, folder=spec.output, source="train", metrics=metrics, lineage=lineage
    )
    return publish_bounded(open_registry(settings), submission, facts, settings)


def _result_event(result: TrainingResult, version: Version | None) -> ResultEvent:
    return ResultEvent(
        **{**asdict(result), "output": str(result.output)},
        version=None if version is None else str(version.reference),
        digest=None if version is None else version.digest,
    )
