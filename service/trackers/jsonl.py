"""Figures as JSON lines in the adapter's folder: always written, read by people, scripts and a resumed run."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from service.trackers.tracker import Metrics, Outcome, RunInfo

METRICS: Final = "metrics.jsonl"


class JsonLines:
    """One line for the run, one for each step's figures, one for the end."""

    def __init__(self) -> None:
        self._path = Path()

    def start(self, run: RunInfo) -> None:
        """See `Tracker`."""
        self._path = run.output / METRICS
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if run.resumed:
            _drop_torn_line(self._path)
        else:
            self._path.unlink(missing_ok=True)
            self._write({"run": run.id, "name": run.name, "hyperparameters": dict(run.hyperparameters)})

    def log(self, step: int, metrics: Metrics) -> None:
        """See `Tracker`."""
        self._write({"step": step, **_finite(metrics)})

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """See `Tracker`."""
        self._write({"outcome": outcome, **_finite(summary)})

    def _write(self, values: Mapping[str, Any]) -> None:
        # Opened for each line: a killed process loses nothing that it has logged.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


def read_metrics(output: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's file, without one that a kill has torn; nothing where there is no file."""
    try:
        text = (output / METRICS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


def _finite(metrics: Metrics) -> dict[str, float | None]:
    """JSON has no NaN and no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _drop_torn_line(path: Path) -> None:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
