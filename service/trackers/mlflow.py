"""Figures for MLflow, through its client: nothing of its global state is used."""

import time
from typing import Final

from mlflow.entities import Metric, Param, RunTag
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.tracking import MlflowClient

from service.trackers.tracker import Metrics, Outcome, RunInfo

_TAG: Final = "lorad.run"
_STATUS: Final = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_MAX_PARAM_CHARS: Final = 6000


class MLflow:
    """One MLflow run for each training run, found again by a tag when that is resumed.

    Args:
        uri: of the tracking server, or `sqlite:///FILE`.
        experiment: made when it is missing.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri = uri
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._run = ""

    def start(self, run: RunInfo) -> None:
        """See `Tracker`."""
        # Its own defaults would hold up the training for minutes when the server is away.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(10)
        client = self._client = MlflowClient(self._uri)
        known = client.get_experiment_by_name(self._experiment)
        experiment = client.create_experiment(self._experiment) if known is None else known.experiment_id
        earlier = client.search_runs([experiment], f"tags.`{_TAG}` = '{run.id}'", max_results=1)
        if earlier:
            self._run = earlier[0].info.run_id
            client.set_terminated(self._run, "RUNNING")
            return
        self._run = client.create_run(experiment, run_name=run.name, tags={_TAG: run.id}).info.run_id
        params = [Param(name, str(value)[:_MAX_PARAM_CHARS]) for name, value in run.hyperparameters.items()]
        client.log_batch(self._run, params=params)

    def log(self, step: int, metrics: Metrics) -> None:
        """See `Tracker`."""
        self._log(step, metrics)

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        """See `Tracker`."""
        assert self._client is not None
        self._log(0, {f"result/{name}": value for name, value in summary.items()})
        self._client.log_batch(self._run, tags=[RunTag("lorad.outcome", outcome)])
        self._client.set_terminated(self._run, _STATUS[outcome])

    def _log(self, step: int, metrics: Metrics) -> None:
        assert self._client is not None
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])
