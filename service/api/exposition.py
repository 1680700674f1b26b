"""The text that Prometheus scrapes."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.state import ServerState
from service.inference import Inference

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(state: ServerState, tenant: str) -> bytes:
    """The metrics as one tenant may see them: of adapters' names only its own. Empty until the model is loaded."""
    inference = state.lifecycle.opened
    if inference is None:
        return b""
    own = CollectorRegistry()
    own.register(_ServerCollector(state, inference, tenant))
    return generate_latest(inference.metrics.registry) + generate_latest(own)


class _ServerCollector(Collector):
    """What the engine's own metrics lack, read when it is asked for."""

    def __init__(self, state: ServerState, inference: Inference, tenant: str) -> None:
        self._state = state
        self._inference = inference
        self._tenant = tenant

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        in_flight = self._state.lifecycle.in_flight
        resident = self._inference.engine.resident()
        yield GaugeMetricFamily("lorad_adapters_resident", "Adapters in memory", value=len(resident))
        yield GaugeMetricFamily("lorad_http_requests_running", "HTTP requests under way", value=in_flight.num_requests)
        yield GaugeMetricFamily("lorad_answers_running", "Answers under way", value=in_flight.num_answers)
        # Gateways with LoRA affinity take the newest sample: its value is the time, its labels are the message.
        adapters = GaugeMetricFamily(
            "vllm:lora_requests_info",
            "Adapters with requests under way",
            labels=["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
        )
        running = ",".join(in_flight.adapters(self._tenant))
        adapters.add_metric([str(self._state.settings.max_loras), running, ""], time.time())
        yield adapters
