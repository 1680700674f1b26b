"""What the engine counts, under vLLM's metric names, so that existing dashboards and gateways can read it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class EngineMetrics:
    """The engine's metrics in one registry; nothing global, so many engines can live in one process."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._model = model_name
        self._waiting = self._gauge("vllm:num_requests_waiting", "Requests that wait for a batch")
        self._running = self._gauge("vllm:num_requests_running", "Requests in the batch under way")
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed")
        self._new_tokens = self._counter("vllm:generation_tokens", "Tokens generated")
        self._first_token = self._histogram("vllm:time_to_first_token_seconds", "Submission to first token")
        self._latency = self._histogram("vllm:e2e_request_latency_seconds", "Submission to last token")
        self._finished = Counter(
            "vllm:request_success", "Finished requests", ["model_name", "finished_reason"], registry=self.registry
        )

    def set_waiting(self, number: int) -> None:
        """Requests that wait now."""
        self._waiting.labels(self._model).set(number)

    @contextmanager
    def running(self, number: int) -> Iterator[None]:
        """Around a batch of so many requests."""
        self._running.labels(self._model).set(number)
        try:
            yield
        finally:
            self._running.labels(self._model).set(0)

    def first_token(self, prompt_tokens: int, seconds: float) -> None:
        """A request got its first token."""
        self._prompt_tokens.labels(self._model).inc(prompt_tokens)
        self._first_token.labels(self._model).observe(seconds)

    def finished(self, new_tokens: int, seconds: float, reason: str) -> None:
        """A request ended."""
        self._new_tokens.labels(self._model).inc(new_tokens)
        self._latency.labels(self._model).observe(seconds)
        self._finished.labels(self._model, reason).inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model_name"], registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model_name"], registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ["model_name"], registry=self.registry, buckets=_SECONDS)
