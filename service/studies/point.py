"""One run of a study: an ordinary training run that is not done twice."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.errors import SettingsError
from service.settings import Settings
from service.training_spec import TrainingSpec
from storage.durable import flush
from training.events import Event, Listener, StartEvent

RESULT: Final = "result.json"
_NOT_COMPARED: Final = frozenset({"output", "resume", "overwrite", "trackers", "name"})


@dataclass(frozen=True)
class Point:
    """A finished run."""

    label: str
    folder: Path
    start: Mapping[str, Any]
    """Its `StartEvent`."""
    result: Mapping[str, Any]
    """Its `ResultEvent`."""


def run_point(
    label: str,
    spec: TrainingSpec,
    settings: Settings,
    listen: Listener,
    report: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Point:
    """Do the run of `spec`, or read what it gave when it was done before.

    Raises:
        SettingsError: it was done before with other settings or data.
        TrainingError: see `run_training`.
    """
    # torch is loaded here and not sooner: a study is chosen before anything heavy is.
    from service.training_run import run_training

    told = _told(spec)
    if spec.overwrite:
        shutil.rmtree(spec.output, ignore_errors=True)
    earlier = _read(spec.output / RESULT)
    if earlier is not None:
        _refuse_other(spec.output, told, earlier["spec"])
        report(f"{label} is done already")
        return Point(label, spec.output, earlier["start"], earlier["result"])
    start: dict[str, Any] = {}

    def hear(event: Event) -> None:
        if isinstance(event, StartEvent):
            start.update(event.to_json())
        listen(event)

    run = spec.model_copy(update={"resume": spec.resume and not spec.overwrite, "overwrite": False})
    result = run_training(run, settings, hear, report, should_stop).to_json()
    write_json(spec.output / RESULT, {"label": label, "spec": told, "start": start, "result": result})
    return Point(label, spec.output, start, result)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    staged = path.with_name(f".{path.name}")
    staged.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(staged)
    os.replace(staged, path)


def _told(spec: TrainingSpec) -> dict[str, Any]:
    values = spec.model_dump(mode="json", exclude=set(_NOT_COMPARED))
    files = {"data_digest": spec.data, "validation_digest": spec.validation}
    return values | {name: _digest(path) for name, path in files.items() if path is not None}


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        # The run itself says what is wrong with the file.
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SettingsError(f"{path} is damaged ({error}); remove its folder, and the run is done again") from error
    return content


def _refuse_other(folder: Path, told: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    odd = sorted(name for name in {*told, *earlier} if told.get(name) != earlier.get(name))
    if odd:
        raise SettingsError(
            f"{folder} holds a run with another {', '.join(odd)}; add --overwrite to do all again, or name another "
            "--output"
        )
