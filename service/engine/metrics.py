"""What the engine counts, under vLLM's metric names, so that existing dashboards and gateways can read it."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.engine.request import EngineConfig

_FIRST_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
_BETWEEN = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_REQUEST = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_ADAPTER_REQUEST = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LOAD = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

_MAX_ADAPTER_LABELS = 1000
_OTHER = "other"
"""Label of all adapters beyond that number."""


class EngineMetrics:
    """The engine's metrics in one registry; nothing global, so many engines can live in one process.

    Args:
        model_name: the base's public name, a label of every metric.
        max_loras: adapters on the device at once, which gateways read from a label.
    """

    def __init__(self, model_name: str, max_loras: int = EngineConfig.max_loras) -> None:
        self.registry = CollectorRegistry()
        self._model = model_name
        self._max_loras = str(max_loras)
        self._add_state()
        self._add_requests()
        self._add_adapters()

    def step(
        self,
        *,
        running: int,
        waiting: int,
        tokens: int,
        cache_usage: float,
        prefix_queries: int,
        prefix_hits: int,
        running_adapters: Iterable[str],
        waiting_adapters: Iterable[str],
    ) -> None:
        """After a step of so many tokens (0: an idle engine), what there is now.

        Args:
            running: requests that hold pages.
            waiting: requests that do not.
            tokens: computed in the step.
            cache_usage: share of the cache's pages that running requests hold, 0 to 1.
            prefix_queries: prompt tokens looked up in the cache since the engine started.
            prefix_hits: those of them that were there.
            running_adapters: names of the adapters of running requests.
            waiting_adapters: and of waiting ones.
        """
        self._running.set(running)
        self._waiting.set(waiting)
        self._cache_usage.set(cache_usage)
        if tokens:
            self._step_tokens.observe(tokens)
        self._count_prefixes(prefix_queries, prefix_hits)
        self._show_adapters(",".join(sorted(set(running_adapters))), ",".join(sorted(set(waiting_adapters))))

    def first_token(self, prompt_tokens: int, seconds: float, queue_seconds: float) -> None:
        """A request got its first token, so long after its submission, of which it waited a part."""
        self._prompt_tokens.inc(prompt_tokens)
        self._first_token.observe(seconds)
        self._queue.observe(queue_seconds)

    def between_tokens(self, seconds: float, count: int) -> None:
        """So many tokens came so long after the one before."""
        self._between.observe(seconds, count)

    def finished(self, new_tokens: int, seconds: float, reason: str, adapters: tuple[str, ...]) -> None:
        """A request ended; it counts for each of its adapters."""
        self._new_tokens.inc(new_tokens)
        self._latency.observe(seconds)
        self._finished.labels(self._model, reason).inc()
        for label in map(self._label, adapters):
            self._adapter_tokens.labels(self._model, label).inc(new_tokens)
            self._adapter_latency.labels(self._model, label).observe(seconds)

    def preempted(self) -> None:
        """A running request lost its pages and waits again."""
        self._preemptions.inc()

    def resident(self, device: int, host: int) -> None:
        """So many adapters are in device and in host memory."""
        self._residents.labels(self._model, "device").set(device)
        self._residents.labels(self._model, "host").set(host)

    def adapter_loaded(self, seconds: float) -> None:
        """An adapter was brought onto the device."""
        self._loads.inc()
        self._load_seconds.observe(seconds)

    def adapter_evicted(self) -> None:
        """An adapter left the device."""
        self._evictions.inc()

    def _add_state(self) -> None:
        self._running = self._gauge("vllm:num_requests_running", "Requests that run")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Requests that wait")
        self._cache_usage = self._gauge("vllm:kv_cache_usage_perc", "Share of the cache's pages in use, 0 to 1")
        self._step_tokens = self._histogram("vllm:iteration_tokens_total", "Tokens of a step", _STEP_TOKENS)
        self._prefix_queries = self._counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the cache")
        self._prefix_hits = self._counter("vllm:prefix_cache_hits", "Prompt tokens found in the cache")
        self._preemptions = self._counter("vllm:num_preemptions", "Requests that lost their pages and waited again")
        self._prefixes_seen = (0, 0)

    def _add_requests(self) -> None:
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed")
        self._new_tokens = self._counter("vllm:generation_tokens", "Tokens generated")
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "Submission to first token", _FIRST_TOKEN
        )
        self._queue = self._histogram("vllm:request_queue_time_seconds", "Submission to admission", _REQUEST)
        self._latency = self._histogram("vllm:e2e_request_latency_seconds", "Submission to last token", _REQUEST)
        self._between = WeightedHistogram(
            "vllm:inter_token_latency_seconds", "From one token to the next", self._model, _BETWEEN
        )
        self.registry.register(self._between)
        self._finished = Counter(
            "vllm:request_success", "Finished requests", ["model_name", "finished_reason"], registry=self.registry
        )

    def _add_adapters(self) -> None:
        self._adapter_labels: set[str] = set()
        labels, registry = ["model_name", "adapter"], self.registry
        self._adapter_tokens = Counter("lorad:adapter_tokens", "Tokens generated", labels, registry=registry)
        self._adapter_latency = Histogram(
            "lorad:adapter_request_seconds",
            "Submission to last token",
            labels,
            registry=registry,
            buckets=_ADAPTER_REQUEST,
        )
        self._residents = Gauge(
            "lorad:adapters_resident", "Adapters in memory", ["model_name", "tier"], registry=registry
        )
        self._loads = self._counter("lorad:adapter_loads", "Adapters brought onto the device")
        self._evictions = self._counter("lorad:adapter_evictions", "Adapters that left the device")
        self._load_seconds = self._histogram("lorad:adapter_load_seconds", "Time to load an adapter", _LOAD)
        names = ["max_lora", "running_lora_adapters", "waiting_lora_adapters"]
        self._adapters = Gauge(
            "vllm:lora_requests_info", "Time of the newest list of adapters", names, registry=registry
        )
        self._shown = ("", "")
        self._show_adapters(*self._shown)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model_name"], registry=self.registry).labels(self._model)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model_name"], registry=self.registry).labels(self._model)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        made = Histogram(name, text, ["model_name"], registry=self.registry, buckets=buckets)
        return made.labels(self._model)

    def _count_prefixes(self, queries: int, hits: int) -> None:
        seen_queries, seen_hits = self._prefixes_seen
        self._prefix_queries.inc(queries - seen_queries)
        self._prefix_hits.inc(hits - seen_hits)
        self._prefixes_seen = queries, hits

    def _show_adapters(self, running: str, waiting: str) -> None:
        self._adapters.labels(self._max_loras, running, waiting).set(time.time())
        # The new lists come before the old ones go, so that no scrape finds none.
        if (running, waiting) != self._shown:
            self._adapters.remove(self._max_loras, *self._shown)
            self._shown = running, waiting

    def _label(self, adapter: str) -> str:
        if len(self._adapter_labels) < _MAX_ADAPTER_LABELS:
            self._adapter_labels.add(adapter)
        return adapter if adapter in self._adapter_labels else _OTHER


class WeightedHistogram(Collector):
    """A histogram that takes many equal values at once; the library's takes one a call."""

    def __init__(self, name: str, text: str, model_name: str, buckets: Sequence[float]) -> None:
        self._name, self._text, self._model = name, text, model_name
        self._bounds = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, value: float, count: int) -> None:
        """The value was seen so many times."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += count
            self._sum += value * count

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yields the metric."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text, labels=["model_name"])
        family.add_metric([self._model], list(zip(bounds, counts, strict=True)), total)
        yield family
