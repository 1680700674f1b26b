"""The preflight before a run's first step: refusals end it, warnings become events, bad rows are left out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from base.source import BaseSource
from corpus.dataset import Dataset
from corpus.findings import Finding
from corpus.records import Record
from service.preflight.decision import Decision, kept_choices
from service.preflight.events import AutoEvent
from service.preflight.report import Preflight
from service.preflight.run import PreflightRequest, fly
from service.preflight.summary import summary
from service.preflight.template import FittingEncoder
from service.training.rows import Rows
from service.training.spec import TrainingSpec
from training.events import Listener, WarningEvent
from training.rows.cache import TokenCache

_NUM_LINES = 5


def pass_gate(
    spec: TrainingSpec,
    source: BaseSource,
    rows: Rows,
    listen: Listener,
    report: Callable[[str], None],
    token_cache: TokenCache | None = None,
) -> tuple[Rows, FittingEncoder, Decision]:
    """Looks the run over before the base's weights are loaded.

    Returns:
        The rows that can be trained on, the encoder that has already encoded them, and the settings, all decided.

    Raises:
        PreflightError: the run must not begin.
    """
    flight = fly(
        PreflightRequest(
            train=replace(rows.train_set, records=rows.train),
            validation=_held_out(rows),
            source=source,
            template=spec.template,
            device=spec.device,
            dtype=spec.dtype,
            quantization=spec.quantization,
            config=spec.config,
            chosen=kept_choices(spec.output) if spec.resume else (),
            skip_bad=spec.skip_bad,
            token_cache=token_cache,
        )
    )
    flight.preflight.require()
    for found in flight.preflight.warnings:
        listen(WarningEvent(code=found.code, message=_one_line(found)))
    report(summary(flight.preflight))
    decision = _decision(spec, flight.preflight)
    for choice in decision.taken:
        listen(AutoEvent(setting=choice.name, value=choice.value, reason=choice.reason))
    return _without_unusable(rows, flight.preflight), flight.encoder, decision


def _decision(spec: TrainingSpec, preflight: Preflight) -> Decision:
    # A run without a usable row is refused.
    assert preflight.config is not None
    taken = tuple(choice for choice in preflight.choices if choice.name in spec.config.open_settings)
    return Decision(preflight.config, taken)


def _held_out(rows: Rows) -> Dataset | None:
    if not rows.valid:
        return None
    if rows.valid_set is None:  # A part of the training files, whose bad rows are told of there.
        return replace(rows.train_set, records=rows.valid, bad=())
    return replace(rows.valid_set, records=rows.valid)


def _without_unusable(rows: Rows, preflight: Preflight) -> Rows:
    unusable = {(row.file, row.line) for row in preflight.train.unusable}
    if preflight.validation is not None:
        unusable |= {(row.file, row.line) for row in preflight.validation.unusable}

    def usable(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(record for record in records if (record.file, record.line) not in unusable)

    return replace(rows, train=usable(rows.train), valid=usable(rows.valid))


def _one_line(found: Finding) -> str:
    where = f" ({'; '.join(_where(file, lines) for file, lines in found.lines.items())})" if found.lines else ""
    return f"{found.message}{where}; {found.fix}" if found.fix else f"{found.message}{where}"


def _where(file: str, lines: Sequence[int]) -> str:
    named = ", ".join(map(str, lines[:_NUM_LINES]))
    return f"{file} line{'s' if len(lines) > 1 else ''} {named}{' …' if len(lines) > _NUM_LINES else ''}"
