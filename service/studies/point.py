"""One run of a study: an ordinary training run that is not done twice."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from adapters.manifest import Manifest
from service.errors import SettingsError
from service.settings import Settings
from service.studies.study import PointEvent
from service.training.spec import TrainingSpec
from service.training.warm_start import find_start
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
        SettingsError: it was done before with other settings, data or start.
        AdapterError, TrainingError: see `run_training`.
    """
    # torch is loaded here and not sooner: a study is chosen before anything heavy is.
    from service.training.run import run_training

    told = _told(spec, settings)
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


def run_points(
    runs: Sequence[tuple[str, TrainingSpec]],
    settings: Settings,
    listen: Listener,
    report: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[Point]:
    """Do labelled runs one after the other, each announced; see `run_point`."""
    for number, (label, spec) in enumerate(runs, start=1):
        listen(PointEvent(label=label, number=number, total=len(runs)))
        yield run_point(label, spec, settings, listen, report, should_stop)


def lineage_of(folder: Path) -> dict[str, JsonValue]:
    """What a version made of the finished run in `folder` tells of where it comes from."""
    told = json.loads((folder / RESULT).read_text(encoding="utf-8"))["spec"]
    files = zip(told["data"], told["data_digest"], strict=True)
    data = Manifest.read(folder).data
    lineage = {
        "data": [{**source, "digest": f"sha256:{digest}"} for source, digest in files],
        "data_digest": None if data is None else data.digest,
        "init_from": told["init_from"],
        "init_digest": told["init_digest"],
    }
    return {name: value for name, value in lineage.items() if value is not None}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    staged = path.with_name(f".{path.name}")
    staged.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(staged)
    os.replace(staged, path)


def _told(spec: TrainingSpec, settings: Settings) -> dict[str, Any]:
    """What a run is compared by with an earlier one: names stay the same while files and versions change."""
    start = find_start(spec, settings)
    return {
        **spec.model_dump(mode="json", exclude=set(_NOT_COMPARED)),
        "data_digest": [_digest(source.path) for source in spec.data],
        "validation_digest": None if spec.validation is None else _digest(spec.validation),
        "init_from": None if start is None else start.name,
        "init_digest": None if start is None else start.digest,
    }


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
