"""Figures for trackio: its local database, or a trackio server."""

import contextlib
import io
from collections.abc import Iterator

import trackio

from service.trackers.tracker import Metrics, Outcome, RunInfo


class Trackio:
    """One trackio run for each training run; `trackio show --project PROJECT` shows them.

    Args:
        project: made when it is missing.
        server_url: of a self-hosted server, its write token included; None logs to trackio's local database.
    """

    def __init__(self, project: str, server_url: str | None) -> None:
        self._project = project
        self._server_url = server_url
        self._run: trackio.Run | None = None
        self._last_step = 0

    def start(self, run: RunInfo) -> None:
        """See `Tracker`."""
        with _quiet():
            self._run = trackio.init(
                project=self._project,
                name=f"{run.name}-{run.id[:8]}",
                server_url=self._server_url,
                config=dict(run.hyperparameters),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, metrics: Metrics) -> None:
        """See `Tracker`."""
        assert self._run is not None
        self._last_step = step
        with _quiet():
            self._run.log(dict(metrics), step=step)

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """See `Tracker`."""
        assert self._run is not None
        with _quiet():
            final = {f"result/{name}": value for name, value in summary.items()}
            self._run.log({**final, "outcome": outcome}, step=self._last_step)
            # Not the run's own method: at exit trackio would end it once more, and say so.
            trackio.finish()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # It prints remarks to stdout, which is for data.
    with contextlib.redirect_stdout(io.StringIO()):
        yield
