"""The seam between a training run and whatever records its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Outcome = Literal["finished", "stopped", "failed"]
Metrics = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a tracker is told of a run before its first figures."""

    id: str
    """The same when a stopped run is resumed."""
    name: str
    output: Path
    """The adapter's folder, for trackers that write files."""
    hyperparameters: Mapping[str, Any]
    resumed: bool


class Tracker(Protocol):
    """Records one run. Called from the training thread, in order; what it raises never ends the run."""

    def start(self, run: RunInfo) -> None:
        """The run begins, or goes on."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Figures of one step; a pair of step and name comes once in a run's life, resumed or not."""

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """The run is over; a stopped one may go on later.

        Args:
            outcome: how.
            summary: figures of the whole run; empty unless it finished.
        """
