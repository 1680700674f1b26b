"""Figures for TensorBoard, in `tensorboard/` of the adapter's folder."""

from torch.utils.tensorboard import SummaryWriter

from service.trackers.tracker import Metrics, Outcome, RunInfo


class TensorBoard:
    """Event files: `tensorboard --logdir OUTPUT` shows them."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    def start(self, run: RunInfo) -> None:
        """See `Tracker`."""
        self._writer = SummaryWriter(str(run.output / "tensorboard" / run.id[:8]))
        if not run.resumed:
            lines = [f"    {name}: {value}" for name, value in run.hyperparameters.items()]
            self._writer.add_text("hyperparameters", "\n".join(lines), 0)

    def log(self, step: int, metrics: Metrics) -> None:
        """See `Tracker`."""
        assert self._writer is not None
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        # A resumed run does not log again what was logged: a kill must not lose it.
        self._writer.flush()

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """See `Tracker`."""
        assert self._writer is not None
        for name, value in summary.items():
            self._writer.add_scalar(f"result/{name}", value, 0)
        self._writer.add_text("outcome", outcome, 0)
        self._writer.close()
