"""The engine's metrics as one tenant may see them: names of adapters are their owner's business."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.engine.request import DEFAULT_TENANT

_ADAPTER = "adapter"
_REQUESTS = "vllm:lora_requests_info"
_NAMES = ("running_lora_adapters", "waiting_lora_adapters")
_OTHERS = "other"
"""What the engine counts adapters under once there are too many to tell apart."""


class TenantMetrics(Collector):
    """Reads a registry and leaves out, sample by sample, what belongs to other tenants.

    Args:
        registry: the engine's; it calls adapters by `service.inference.inference.public_name`.
        tenant: who asks.
    """

    def __init__(self, registry: CollectorRegistry, tenant: str) -> None:
        self._registry = registry
        self._prefix = "" if tenant == DEFAULT_TENANT else f"{tenant}/"

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        for metric in self._registry.collect():
            shown = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            shown.samples = self._requests(metric) if metric.name == _REQUESTS else self._own_samples(metric)
            yield shown

    def _own_samples(self, metric: Metric) -> list[Sample]:
        samples = []
        for sample in metric.samples:
            adapter = sample.labels.get(_ADAPTER)
            if adapter is None or adapter == _OTHERS:
                samples.append(sample)
            elif (own := self._own(adapter)) is not None:
                samples.append(sample._replace(labels={**sample.labels, _ADAPTER: own}))
        return samples

    def _requests(self, metric: Metric) -> list[Sample]:
        """The newest sample, whose value is the time: gateways with LoRA affinity look for names, not versions."""
        newest = max(metric.samples, key=lambda sample: sample.value, default=None)
        if newest is None:
            return []
        labels = {name: self._own_names(newest.labels[name]) for name in _NAMES}
        return [newest._replace(labels={**newest.labels, **labels})]

    def _own_names(self, listed: str) -> str:
        own = {self._own(name) for name in listed.split(",") if name}
        return ",".join(sorted({name.partition(":")[0] for name in own if name is not None}))

    def _own(self, name: str) -> str | None:
        """What the owner calls it; None for another tenant's."""
        if not name.startswith(self._prefix) or "/" in name[len(self._prefix) :]:
            return None
        return name.removeprefix(self._prefix)
