"""The preflight before a run's first step: refusals end it, warnings become events, bad rows are left out."""

from collections.abc import Callable
from dataclasses import replace

from base.source import BaseSource
from corpus.dataset import Dataset
from corpus.findings import Finding
from corpus.records import Record
from service.preflight.report import Preflight
from service.preflight.run import PreflightRequest, fly
from service.preflight.summary import summary
from service.preflight.template import FittingEncoder
from service.training_rows import Rows
from service.training_spec import TrainingSpec
from training.events import Listener, WarningEvent

_NUM_LINES = 5


def pass_gate(
    spec: TrainingSpec, source: BaseSource, rows: Rows, listen: Listener, report: Callable[[str], None]
) -> tuple[Rows, FittingEncoder]:
    """Looks the run over before the base's weights are loaded.

    Returns:
        The rows that can be trained on, and the encoder that has already encoded them.

    Raises:
        PreflightError: the run must not begin.
    """
    flight = fly(
        PreflightRequest(
            train=replace(rows.train_file, records=rows.train),
            validation=_held_out(rows),
            source=source,
            template=spec.template,
            device=spec.device,
            dtype=spec.dtype,
            quantization=spec.quantization,
            config=spec.config,
            skip_bad=spec.skip_bad,
        )
    )
    flight.preflight.require()
    for found in flight.preflight.warnings:
        listen(WarningEvent(code=found.code, message=_one_line(found)))
    report(summary(flight.preflight))
    return _without_unusable(rows, flight.preflight), flight.encoder


def _held_out(rows: Rows) -> Dataset | None:
    if not rows.valid:
        return None
    if rows.valid_file is None:  # A part of the training file, whose bad rows are told of there.
        return replace(rows.train_file, records=rows.valid, bad=())
    return replace(rows.valid_file, records=rows.valid)


def _without_unusable(rows: Rows, preflight: Preflight) -> Rows:
    unusable = {(row.file, row.line) for row in preflight.train.unusable}
    if preflight.validation is not None:
        unusable |= {(row.file, row.line) for row in preflight.validation.unusable}

    def usable(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(record for record in records if (record.file, record.line) not in unusable)

    return replace(rows, train=usable(rows.train), valid=usable(rows.valid))


def _one_line(found: Finding) -> str:
    lines = ", ".join(str(line) for line in found.lines[:_NUM_LINES])
    more = " …" if len(found.lines) > _NUM_LINES else ""
    where = f" (line{'s' if len(found.lines) > 1 else ''} {lines}{more})" if lines else ""
    return f"{found.message}{where}; {found.fix}" if found.fix else f"{found.message}{where}"
