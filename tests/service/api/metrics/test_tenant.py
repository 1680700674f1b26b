from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.api.metrics.tenant import TenantMetrics


def engine_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("vllm:generation_tokens", "x", ["model_name"], registry=registry).labels("tiny").inc(7)
    tokens = Counter("lorad:adapter_tokens", "x", ["model_name", "adapter"], registry=registry)
    seconds = Histogram("lorad:adapter_request_seconds", "x", ["adapter"], registry=registry)
    for count, name in enumerate(("a:1", "acme/a:1", "acme/b:3", "other"), start=1):
        tokens.labels("tiny", name).inc(count)
        seconds.labels(name).observe(count)
    labels = ["max_lora", "running_lora_adapters", "waiting_lora_adapters"]
    requests = Gauge("vllm:lora_requests_info", "x", labels, registry=registry)
    requests.labels("16", "z:1", "").set(100)
    requests.labels("16", "a:1,a:2,acme/b:3", "acme/a:1").set(200)
    return registry


def seen(tenant: str) -> dict[tuple[str, str], float]:
    """Metric and adapter to value."""
    return {
        (sample.name, sample.labels.get("adapter", "")): sample.value
        for metric in TenantMetrics(engine_registry(), tenant).collect()
        for sample in metric.samples
    }


def test_a_tenant_sees_its_own_adapters_under_their_own_names() -> None:
    default, acme = seen("default"), seen("acme")
    name = "lorad:adapter_tokens_total"
    assert {key[1]: value for key, value in default.items() if key[0] == name} == {"a:1": 1, "other": 4}
    assert {key[1]: value for key, value in acme.items() if key[0] == name} == {"a:1": 2, "b:3": 3, "other": 4}
    assert ("lorad:adapter_request_seconds_sum", "b:3") not in default
    assert acme["lorad:adapter_request_seconds_sum", "b:3"] == 3


def test_what_names_no_adapter_is_for_all() -> None:
    for tenant in ("default", "acme", "stranger"):
        assert seen(tenant)["vllm:generation_tokens_total", ""] == 7


def test_a_tenant_cannot_be_the_beginning_of_another() -> None:
    assert not [key for key in seen("acm") if key[1] not in ("", "other")]


def test_gateways_read_the_newest_sample_with_names_only() -> None:
    for tenant, running, waiting in (("default", "a", ""), ("acme", "b", "a"), ("stranger", "", "")):
        [metric] = [
            metric
            for metric in TenantMetrics(engine_registry(), tenant).collect()
            if metric.name == "vllm:lora_requests_info"
        ]
        [sample] = metric.samples
        assert sample.labels == {
            "max_lora": "16", "running_lora_adapters": running, "waiting_lora_adapters": waiting,
        }  # fmt: skip
        assert sample.value == 200
