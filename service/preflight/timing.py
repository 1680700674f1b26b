"""How long a run will take, told before it begins, or without one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from base.loader import LoadedBase, LoadOptions, load
from corpus.dataset import Dataset
from service.preflight.events import TimeEvent
from service.preflight.report import Preflight
from service.preflight.run import Flight, PreflightRequest
from training.config import TrainingConfig
from training.probe import probe, schedule_of
from training.rows.examples import Prepared, prepare
from training.rows.pairs import prepare_pairs
from training.run import TrainingData

MIN_STEPS = 16
"""A run of fewer steps is over about as soon as it is measured."""


def expected_time(base: LoadedBase, config: TrainingConfig, data: TrainingData, output: Path) -> TimeEvent | None:
    """Measure a run that is about to begin; nothing where it is short or goes on from a checkpoint.

    A resumed run's steps tell what is left as soon as the first of them is done.
    """
    if schedule_of(config, data.train).total_steps < MIN_STEPS or any((output / "checkpoints").glob("step-*")):
        return None
    found = probe(base, config, data)
    return TimeEvent(
        seconds=found.seconds,
        steps_seconds=found.steps_seconds,
        evaluation_seconds=found.evaluation_seconds,
        tokens_per_second=found.tokens_per_second,
        ends_at=(datetime.now(UTC) + timedelta(seconds=found.seconds)).isoformat(timespec="seconds"),
    )


def with_time(flight: Flight, request: PreflightRequest) -> Preflight:
    """Load the base and measure how long the run would take; refused ones are left as they are.

    Raises:
        BaseModelError: the base cannot be loaded.
    """
    preflight = flight.preflight
    if preflight.refusals or preflight.config is None:
        return preflight
    held_out = request.validation
    data = TrainingData(
        train=_prepared(flight, preflight.config, request.train),
        valid=None if held_out is None else _prepared(flight, preflight.config, held_out),
        digest=f"sha256:{request.train.digest}",
    )
    options = LoadOptions(device=request.device, dtype=request.dtype, quantization=request.quantization)
    return replace(preflight, time=probe(load(request.source, options), preflight.config, data))


def _prepared(flight: Flight, config: TrainingConfig, dataset: Dataset) -> Prepared:
    preparing = prepare_pairs if config.method == "dpo" else prepare
    return preparing(dataset.records, flight.encoder, flight.preflight.max_length)
