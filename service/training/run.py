"""One training run in this process: files to records to tokens to an adapter folder, and into the registry."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.files import ADAPTER_FILES
from adapters.publication import Submission
from adapters.validation import validate
from adapters.version import Change, Version
from base.loader import LoadedBase, LoadOptions, load
from base.shapes import module_shapes
from base.source import locate
from corpus.records import Record
from service.actor import local_actor
from service.preflight.decision import Decision, keep_choices
from service.preflight.gate import pass_gate
from service.preflight.timing import expected_time
from service.registry.opening import open_registry
from service.registry.publication import check_bounds, publish_bounded
from service.settings import Settings
from service.trackers.jsonl import METRICS
from service.trackers.opening import open_trackers
from service.trackers.tracked_run import TrackedRun
from service.trackers.tracker import Outcome
from service.training.rows import Rows, bits_per_byte, lineage_of, read_rows
from service.training.spec import DecidedSpec, TrainingSpec, decided
from service.training.warm_start import WarmStart, find_start, taken_over
from training.artifacts.output import Finished, write_output
from training.errors import ConfigError, Stopped
from training.events import Event, Listener, StartEvent
from training.layers.lora import LoraLinear, targeted
from training.loop import Trainer
from training.rows.cache import TokenCache
from training.rows.examples import Encoder, Prepared, prepare, refuse
from training.rows.pairs import prepare_pairs
from training.run import TrainingData, TrainingResult


@dataclass(frozen=True, kw_only=True)
class ResultEvent(Event):
    """The run is over; the last event of every successful one."""

    name = "result"
    output: str
    steps: int
    published_step: int
    """Whose weights the adapter has: those with the lowest held-out loss, or the last ones."""
    tokens_per_second: float
    train_loss: float
    valid_loss: float | None
    """Of the adapter as it is published."""
    last_valid_loss: float | None
    """After the last step."""
    base_valid_loss: float | None
    valid_figures: dict[str, float]
    """What else was measured on the held-out rows: rewards and accuracy of preference pairs."""
    valid_bits_per_byte: float | None
    """The held-out loss for each byte of the answers, comparable across tokenizers; None where rows were cut off."""
    base_bits_per_byte: float | None
    trained_tokens: int
    seconds: float
    peak_memory_bytes: int
    version: str | None
    """The pinned reference under which it was published."""
    digest: str | None


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
    start = find_start(spec, settings)
    if start is not None:
        spec = spec.model_copy(update={"config": taken_over(spec.config, start)})
    trackers = open_trackers(spec.trackers, settings)
    rows = read_rows(spec)
    source = locate(spec.base_model, settings.bases, report)
    if spec.name is not None:
        check_bounds(spec.name, spec.config.published_rank, source.name, settings)
    rows, encoder, decision = pass_gate(spec, source, rows, listen, report, TokenCache(settings.token_cache))
    run = decided(spec, decision.config)
    report(f"loading {source.name}")
    options = LoadOptions(device=spec.device, dtype=spec.dtype, quantization=spec.quantization)
    base = load(source, options)
    facts = BaseFacts(name=base.name, digest=base.digest, linear_shapes=module_shapes(base.model))
    # Refused before `overwrite` clears the folder.
    if start is not None:
        validate(start.folder, facts)
    targeted(facts.linear_shapes, spec.config.target_modules)
    tracked = TrackedRun(trackers, spec.name or spec.output.name, spec.output, _told(run), listen)

    def hear(event: Event) -> None:
        listen(event)
        tracked(event)

    outcome: Outcome = "failed"
    summary: dict[str, float] = {}
    try:
        event = _train(run, decision, base, rows, encoder, start, hear, should_stop)
        outcome, summary = "finished", _figures(event)
    except Stopped:
        outcome = "stopped"
        raise
    finally:
        tracked.end(outcome, summary)
    if spec.name is not None:
        lineage = lineage_of(rows.train_set) | decision.lineage | ({} if start is None else start.lineage)
        version = _publish(spec, settings, facts, event, lineage)
        event = replace(event, version=str(version.reference), digest=version.digest)
    listen(event)
    return event


def _told(spec: TrainingSpec) -> dict[str, Any]:
    """What trackers file a run under."""
    values = spec.model_dump(mode="json", include={"base_model", "quantization", "dtype", "data", "data_fraction"})
    return {**spec.config.model_dump(mode="json"), **values}


def _figures(event: ResultEvent) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(event).items() if isinstance(value, int | float)}


def _refuse_occupied(spec: TrainingSpec) -> None:
    checkpoints = spec.output / "checkpoints"
    if spec.output.exists() and not spec.output.is_dir():
        raise ConfigError(f"--output {spec.output} is a file; name a folder")
    occupied = any((spec.output / name).exists() for name in ADAPTER_FILES) or checkpoints.exists()
    if occupied and not (spec.resume or spec.overwrite):
        raise ConfigError(f"--output {spec.output} holds an earlier run; add --resume or --overwrite, or name another")


def _train(
    spec: DecidedSpec,
    decision: Decision,
    base: LoadedBase,
    rows: Rows,
    encoder: Encoder,
    start: WarmStart | None,
    listen: Listener,
    should_stop: Callable[[], bool],
) -> ResultEvent:
    # A row beyond the base's context could be learnt but never asked for.
    max_length = min(spec.config.max_length, base.context_tokens)
    data = TrainingData(
        train=_prepared(rows.train, encoder, max_length, spec),
        valid=_prepared(rows.valid, encoder, max_length, spec) if rows.valid else None,
        digest=f"sha256:{rows.train_set.digest}",
        initial_digest=None if start is None else start.digest,
        valid_digest=None if rows.valid_set is None else f"sha256:{rows.valid_set.digest}",
    )

    def hear(event: Event) -> None:
        # Not sooner: by then all that a run is refused for has been looked at.
        if isinstance(event, StartEvent):
            if spec.overwrite:
                _clear(spec.output)
            keep_choices(spec.output, decision.taken)
        listen(event)

    def finish(layers: dict[str, LoraLinear], adapter: LoraConfig, result: TrainingResult) -> None:
        told = Finished(base=base, renderer=encoder.renderer, config=spec.config, data=data, result=result)
        write_output(spec.output, layers, adapter, told)

    expected = expected_time(base, spec.config, data, spec.output)
    if expected is not None:
        listen(expected)
    trainer = Trainer(
        base,
        spec.config,
        data,
        spec.output,
        listen=hear,
        should_stop=should_stop,
        initial=None if start is None else start.folder,
    )
    result = trainer.run(finish, resume=spec.resume)
    return _result_event(result, data, rows.valid)


def _prepared(records: tuple[Record, ...], encoder: Encoder, max_length: int, spec: TrainingSpec) -> Prepared:
    prepared = (prepare_pairs if spec.config.method == "dpo" else prepare)(records, encoder, max_length)
    refuse(prepared, skip_bad=spec.skip_bad)
    return prepared


def _clear(output: Path) -> None:
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    for name in (*ADAPTER_FILES, METRICS):
        (output / name).unlink(missing_ok=True)


def _publish(
    spec: TrainingSpec, settings: Settings, facts: BaseFacts, result: ResultEvent, lineage: dict[str, JsonValue]
) -> Version:
    assert spec.name is not None
    metrics = {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
    submission = Submission(
        tenant=spec.tenant,
        name=spec.name,
        folder=spec.output,
        source="train",
        metrics=metrics,
        lineage=lineage,
        change=Change(actor=local_actor()),
    )
    return publish_bounded(open_registry(settings), submission, facts, settings)


def _result_event(result: TrainingResult, data: TrainingData, valid: tuple[Record, ...]) -> ResultEvent:
    # Of pairs only the order of the answers was scored, not their bytes.
    scored = None if data.valid is None or data.valid.rejected else data.valid
    return ResultEvent(
        **{**asdict(result), "output": str(result.output)},
        valid_bits_per_byte=bits_per_byte(result.valid_loss, scored, valid),
        base_bits_per_byte=bits_per_byte(result.base_valid_loss, scored, valid),
        version=None,
        digest=None,
    )
