"""What every study is: ordinary training runs in sub-folders of one, and a report at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from service.errors import SettingsError
from service.settings import Settings
from service.training.spec import TrainingSpec
from training.events import Event, Listener


@dataclass(frozen=True, kw_only=True)
class PointEvent(Event):
    """A study goes on to its next run."""

    name = "run"
    label: str
    number: int
    """From 1."""
    total: int


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What a study found, already written to its folder."""

    folder: Path
    text: str
    """Markdown."""
    content: dict[str, Any]
    """The same as data."""

    def to_json(self) -> dict[str, Any]:
        """For the last JSON line."""
        return {"output": str(self.folder), **self.content}


class Study(Protocol):
    """A question that several runs answer."""

    def run(
        self,
        spec: TrainingSpec,
        settings: Settings,
        listen: Listener,
        report: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> StudyReport:
        """Do the runs that are not done yet, then write the report.

        Args:
            spec: of every run, but for what the study varies; its output is the study's folder.
            settings: the environment's.
            listen: hears each run's events after a `PointEvent`.
            report: receives lines of progress.
            should_stop: asked after every step.

        Raises:
            SettingsError: the study cannot be done with this spec.
            Stopped: `should_stop` said so; with `resume` the study goes on where it was.
        """


def refuse_unfit(spec: TrainingSpec) -> None:
    """Refuse what no study can be done with: no rows to compare the runs by, or a folder with something in it.

    Raises:
        SettingsError: says which flags there are.
    """
    _refuse_unmeasured(spec)
    _refuse_occupied(spec)


def _refuse_unmeasured(spec: TrainingSpec) -> None:
    if spec.validation is None and spec.validation_fraction is None:
        raise SettingsError("runs are compared by rows kept out of training: add --validation or --validation-fraction")


def _refuse_occupied(spec: TrainingSpec) -> None:
    occupied = spec.output.exists() and (not spec.output.is_dir() or any(spec.output.iterdir()))
    if occupied and not (spec.resume or spec.overwrite):
        raise SettingsError(
            f"--output {spec.output} is not empty; add --resume to do what is missing, --overwrite to do all again, "
            "or name another"
        )
