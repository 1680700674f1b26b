"""The trackers that a run asks for, or a refusal that says what to install."""

import importlib
import importlib.util
from typing import Any, Final, Literal, get_args

from service.errors import SettingsError
from service.settings import Settings
from service.trackers.jsonl import JsonLines
from service.trackers.tracker import Tracker

TrackerName = Literal["tensorboard", "mlflow", "trackio"]

TRACKERS: Final = get_args(TrackerName)
_CLASSES: Final[dict[TrackerName, str]] = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "trackio": "Trackio"}

# Not as an extra of lorad, which is on no package index: whoever takes its name there would be installed.
_PACKAGES: Final[dict[TrackerName, str]] = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow-skinny",
    "trackio": "trackio",
}


def open_trackers(names: tuple[TrackerName, ...], settings: Settings) -> list[Tracker]:
    """The named trackers, and JSON lines last: a resumed run leaves out what these hold, so the others have it too.

    Raises:
        SettingsError: a tracker's package is not installed.
    """
    return [*(_open(name, settings) for name in dict.fromkeys(names)), JsonLines()]


def _open(name: TrackerName, settings: Settings) -> Tracker:
    if importlib.util.find_spec(name) is None:
        raise SettingsError(f"--tracker {name}: its package is not installed; run: pip install {_PACKAGES[name]}")
    # Imported only where it is asked for: each of them takes seconds.
    kind = getattr(importlib.import_module(f"service.trackers.{name}"), _CLASSES[name])
    tracker: Tracker = kind(**_arguments(name, settings))
    return tracker


def _arguments(name: TrackerName, settings: Settings) -> dict[str, Any]:
    if name == "mlflow":
        return {"uri": settings.mlflow_uri, "experiment": settings.tracker_project}
    if name == "trackio":
        return {"project": settings.tracker_project, "server_url": settings.trackio_server_url}
    return {}
