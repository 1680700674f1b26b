"""The text that Prometheus scrapes."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.metrics.tenant import TenantMetrics
from service.api.process.in_flight import InFlight
from service.api.state import ServerState
from service.jobs.job import JobStatus
from storage.errors import StorageError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(state: ServerState, tenant: str) -> bytes:
    """The metrics as one tenant may see them: of adapters' names only its own. Empty until the model is loaded."""
    inference = state.lifecycle.opened
    if inference is None:
        return b""
    shown = CollectorRegistry()
    shown.register(TenantMetrics(inference.metrics.registry, tenant))
    shown.register(_ServerCollector(state.lifecycle.in_flight))
    shown.register(_JobCollector(state, tenant))
    return generate_latest(shown)


class _JobCollector(Collector):
    """One tenant's jobs by state, counted when it is asked for; none while the database is away."""

    def __init__(self, state: ServerState, tenant: str) -> None:
        self._state = state
        self._tenant = tenant

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        try:
            counts = self._state.jobs.counts(self._tenant)
        except StorageError:
            return
        jobs = GaugeMetricFamily("lorad_jobs", "Finetuning jobs by state", labels=["status"])
        for status in get_args(JobStatus):
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs
        streams = self._state.event_streams.num_open
        yield GaugeMetricFamily("lorad_job_event_streams", "Streams of job events that are open", value=streams)


class _ServerCollector(Collector):
    """What the engine's own metrics lack, read when it is asked for."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        in_flight = self._in_flight
        yield GaugeMetricFamily("lorad_http_requests_running", "HTTP requests under way", value=in_flight.num_requests)
        yield GaugeMetricFamily("lorad_answers_running", "Answers under way", value=in_flight.num_answers)
