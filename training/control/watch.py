"""Ends a run that has gone wrong, and names the rows and the checkpoint."""

import math
from collections.abc import Sequence

from training.artifacts.checkpoint import Checkpoints, Progress
from training.config import TrainingConfig
from training.control.alarm import WINDOW, Alarm
from training.errors import DivergedError
from training.events import Listener, WarningEvent
from training.optimization.step import Outcome
from training.rows.batches import Batch
from training.rows.examples import Prepared


class Watch:
    """Looks at every step of one process.

    Args:
        config: whose learning rate errors name.
        rows: what the batches were made of.
        checkpoints: what is left when the run ends.
        listen: hears warnings.
        start_loss: the level that the run began with, where an earlier process has found it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        rows: Prepared,
        checkpoints: Checkpoints,
        listen: Listener,
        start_loss: float | None = None,
    ) -> None:
        self._config = config
        self._rows = rows
        self._checkpoints = checkpoints
        self._listen = listen
        self._alarm = Alarm(start_loss)

    @property
    def start_loss(self) -> float | None:
        """The level that the run began with; None in its first steps."""
        return self._alarm.start

    def refuse_divergence(self, step: int, outcome: Outcome, batches: Sequence[Batch]) -> None:
        """Called before the weights are changed.

        Raises:
            DivergedError: the loss or a gradient is not finite.
        """
        if math.isfinite(outcome.total) and math.isfinite(outcome.grad_norm):
            return
        raise DivergedError(
            f"step {step}: loss {outcome.total} and gradient norm {outcome.grad_norm} on training rows "
            f"{self._places(batches)}; lower --learning-rate (now {self._config.learning_rate}) or look at these rows; "
            f"{self._checkpoints.describe_newest()}"
        )

    def hear(self, progress: Progress, outcome: Outcome, batches: Sequence[Batch]) -> None:
        """Called after each step; warns of what is far above the usual.

        Raises:
            DivergedError: for a whole window the loss has been above where the run began.
        """
        step = progress.step
        for spike in self._alarm.hear(progress.train_loss, outcome.grad_norm):
            where = f"look at rows {self._places(batches)}"
            message = f"step {step}: {spike.name} {spike.value:.4g}, usually {spike.usual:.4g}; {where}"
            self._listen(WarningEvent(code="spike", message=message))
        if self._alarm.lost:
            best = progress.best
            kept = "" if best is None else f", the best was step-{best.step}, held-out {best.valid_loss:.4f}"
            raise DivergedError(
                f"step {step}: for {WINDOW} steps the loss has been above where the run began (now "
                f"{progress.train_loss:.4g}); lower --learning-rate (now {self._config.learning_rate}); "
                f"{self._checkpoints.describe_newest()}{kept}"
            )

    def _places(self, batches: Sequence[Batch]) -> str:
        return self._rows.places(row for batch in batches for row in batch.rows)
