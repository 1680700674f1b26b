"""`lorad train`: instruction data to an adapter."""

from collections.abc import Callable, Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError

from corpus.columns import ColumnMapping
from service.cli.console import duration, emit_json, out, say
from service.cli.option_groups import grouped
from service.cli.options import Json, settings, sources
from service.cli.progress import TrainingProgress
from service.cli.stopping import StopSignal, stop_signal
from service.cli.studies import chosen_study
from service.cli.train_options import BaseOptions, ConfigOptions, DataOptions, RunOptions, StudyOptions
from service.errors import SettingsError
from service.settings import Settings
from service.studies.study import Study, StudyReport
from service.training.spec import TrainingSpec
from training.errors import Stopped
from training.events import Event, Listener

_COLUMNS = ("prompt", "completion", "text", "label")
_BASE_SETTINGS = ("base_model", "device", "dtype", "quantization", "tenant")
"""Flags that fall back to LORAD_* settings."""
_STUDIES = tuple(field.name for field in fields(StudyOptions))

Result = TypeVar("Result")


@grouped
def train(
    context: typer.Context,
    data: DataOptions,
    run: RunOptions,
    base: BaseOptions,
    config: ConfigOptions,
    study: StudyOptions,
    json_: Json = False,
) -> None:
    """Train a LoRA or QLoRA adapter, or several: over shares of the data, over bases, or over a search space.

    SIGTERM and Ctrl-C write a checkpoint and end with status 75 or 130; --resume goes on to the same result.
    With --json every event is one JSON line on stdout, the result last.
    """
    chosen = chosen_study(study)
    if run.spec is not None:
        _refuse_flags_beside_spec(context)
        spec = _read_spec(run.spec, resume=run.resume)
    else:
        spec = _spec_of(data, run, base, config, given=_given(context))
    if chosen is None:
        _run(spec, json_=json_)
    else:
        _run_study(chosen, spec, json_=json_)


def _refuse_flags_beside_spec(context: typer.Context) -> None:
    odd = [
        f"--{name.replace('_', '-')}" for name in _given(context) if name not in ("spec", "resume", "json_", *_STUDIES)
    ]
    if odd:
        raise typer.BadParameter(f"--spec says all about the run; leave out {', '.join(odd)} or put it into the file")


def _given(context: typer.Context) -> list[str]:
    """The flags that were typed."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _run(spec: TrainingSpec, *, json_: bool) -> None:
    # torch is loaded here and not sooner: the command line's help must not wait for it.
    from service.training.run import run_training

    result = _listening(lambda listen, stop: run_training(spec, settings(), listen, say, stop), json_=json_)
    if not json_:
        losses = [f"{result.base_valid_loss:.4f} to {result.valid_loss:.4f}"] if result.valid_loss is not None else []
        best = f" (of step {result.published_step}, the best)" if result.published_step < result.steps else ""
        held_out = f", held-out loss {losses[0]}{best}" if losses else ""
        out().print(
            f"{result.output}: {result.steps} steps, {result.trained_tokens:,} tokens in "
            f"{duration(result.seconds)} ({result.tokens_per_second:.0f} tok/s){held_out}",
            markup=False,
        )
        if result.version:
            out().print(f"published as {result.version} ({result.digest})", markup=False)


def _run_study(study: Study, spec: TrainingSpec, *, json_: bool) -> None:
    chosen: Settings = settings()
    report: StudyReport = _listening(lambda listen, stop: study.run(spec, chosen, listen, say, stop), json_=json_)
    if json_:
        emit_json({"event": "report", **report.to_json()}, indent=None)
    else:
        out().print(report.text, markup=False)


def _listening(work: Callable[[Listener, StopSignal], Result], *, json_: bool) -> Result:
    """Does `work`, its events shown, its signals turned into a wish to stop."""
    with stop_signal() as stop, TrainingProgress() as progress:

        def listen(event: Event) -> None:
            if json_:
                emit_json(event.to_json(), indent=None)
            else:
                progress(event)

        try:
            return work(listen, stop)
        except Stopped as stopped:
            stopped.interrupted = stop.interrupted
            raise
        except Exception as error:
            if json_:
                kinds = [kind.__name__ for kind in type(error).__mro__]
                emit_json({"event": "error", "kinds": kinds, "message": str(error)}, indent=None)
            raise


def _spec_of(
    data: DataOptions, run: RunOptions, base: BaseOptions, config: ConfigOptions, *, given: Collection[str]
) -> TrainingSpec:
    if not data.data or run.output is None:
        raise typer.BadParameter("give --data FILE and --output FOLDER, or --spec FILE")
    flags = {**asdict(data), **asdict(run), "trackers": tuple(run.tracker or ())}
    falling_back = settings(**asdict(base))
    own = set(TrainingSpec.model_fields) - {"columns", "config", *_BASE_SETTINGS}
    values = {key: flags[key] for key in own if flags[key] is not None}
    values["data"] = sources(data.data)
    values |= {key: getattr(falling_back, key) for key in _BASE_SETTINGS}
    columns = ColumnMapping(**{part: flags[f"{part}_column"] for part in _COLUMNS})
    # Only what was typed: where an adapter is gone on from, its own settings stand in for the rest.
    asked = {name: value for name, value in config.values().items() if name in given}
    return _validated({**values, "columns": columns, "config": asked})


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
    key = [part for part in item["loc"] if isinstance(part, str)][-1]
    flag = "tracker" if key == "trackers" else key.replace("_", "-")
    return f"--{flag}: {item['msg']} (given: {item['input']!r})"
