"""A run's events as figures, to every tracker that was asked for."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from service.trackers.jsonl import read_metrics
from service.trackers.tracker import Metrics, Outcome, RunInfo, Tracker
from training.events import EvalEvent, Event, Listener, StartEvent, StepEvent, WarningEvent

_NOT_FIGURES: Final = ("step", "total_steps", "eta_seconds")


class TrackedRun:
    """Listens to a run and passes its figures on, each once in the run's life.

    A tracker that fails is left out from then on, with one warning: the run matters more than its record.

    Args:
        trackers: the one that writes `metrics.jsonl` last.
        name: of the run, for people.
        output: the adapter's folder.
        hyperparameters: what the run was told.
        listen: hears the warnings.
    """

    def __init__(
        self,
        trackers: Sequence[Tracker],
        name: str,
        output: Path,
        hyperparameters: Mapping[str, Any],
        listen: Listener,
    ) -> None:
        self._trackers = list(trackers)
        self._name = name
        self._output = output
        self._hyperparameters = hyperparameters
        self._listen = listen
        self._started = False
        self._early: list[Event] = []
        self._seen: set[tuple[int, str]] = set()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StartEvent):
            self._start(event)
        elif isinstance(event, StepEvent | EvalEvent):
            if self._started:
                self._log(event)
            else:
                self._early.append(event)

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """The run is over; nothing happens if it never began."""
        if self._started:
            self._each(lambda tracker: tracker.end(outcome, summary))

    def _start(self, event: StartEvent) -> None:
        lines = list(read_metrics(self._output)) if event.first_step else []
        resumed = bool(lines) and "run" in lines[0]
        run = RunInfo(
            id=str(lines[0]["run"]) if resumed else uuid.uuid4().hex,
            name=self._name,
            output=self._output,
            hyperparameters=self._hyperparameters,
            resumed=resumed,
        )
        self._seen = {(line["step"], name) for line in lines if "step" in line for name in line}
        self._each(lambda tracker: tracker.start(run))
        self._started = True
        for early in self._early:
            self._log(early)

    def _log(self, event: Event) -> None:
        told = asdict(event)
        told |= told.pop("figures", {})
        values = {name: value for name, value in told.items() if isinstance(value, int | float)}
        step = int(values["step"])
        fresh = {
            name: float(value)
            for name, value in values.items()
            if name not in _NOT_FIGURES and (step, name) not in self._seen
        }
        if fresh:
            self._seen |= {(step, name) for name in fresh}
            self._each(lambda tracker: tracker.log(step, fresh))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # noqa: BLE001 - a tracker may raise anything, and must not end the run
                self._trackers.remove(tracker)
                message = f"{type(tracker).__name__} failed and records no more of this run: {error}"
                self._listen(WarningEvent(code="tracker", message=message))
