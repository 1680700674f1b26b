import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.engine.metrics import EngineMetrics, WeightedHistogram

VLLM = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:iteration_tokens_total": "histogram",
    "vllm:request_success": "counter",
    "vllm:lora_requests_info": "gauge",
}
OURS = {
    "lorad:adapter_tokens": "counter",
    "lorad:adapter_request_seconds": "histogram",
    "lorad:adapters_resident": "gauge",
    "lorad:adapter_loads": "counter",
    "lorad:adapter_evictions": "counter",
    "lorad:adapter_load_seconds": "histogram",
}


@pytest.fixture
def metrics() -> EngineMetrics:
    return EngineMetrics("base", max_loras=4)


def value(metrics: EngineMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model_name": "base", **labels})


def step(
    metrics: EngineMetrics,
    *,
    running: tuple[str, ...] = (),
    waiting: tuple[str, ...] = (),
    tokens: int = 0,
    prefixes: tuple[int, int] = (0, 0),
) -> None:
    metrics.step(
        running=len(running),
        waiting=len(waiting),
        tokens=tokens,
        cache_usage=0.25,
        prefix_queries=prefixes[0],
        prefix_hits=prefixes[1],
        running_adapters=running,
        waiting_adapters=waiting,
    )


def shown(metrics: EngineMetrics) -> list[tuple[str, str, str]]:
    """The adapters that a gateway reads."""
    names = ("max_lora", "running_lora_adapters", "waiting_lora_adapters")
    families = [family for family in metrics.registry.collect() if family.name == "vllm:lora_requests_info"]
    found = [[sample.labels[name] for name in names] for family in families for sample in family.samples]
    return [(most, running, waiting) for most, running, waiting in found]


def test_names_and_types_are_those_that_dashboards_read(metrics: EngineMetrics) -> None:
    assert {family.name: family.type for family in metrics.registry.collect()} == VLLM | OURS


def test_a_step_shows_what_there_is(metrics: EngineMetrics) -> None:
    step(metrics, running=("a", "b"), waiting=("a",), tokens=40)
    assert value(metrics, "vllm:num_requests_running") == 2
    assert value(metrics, "vllm:num_requests_waiting") == 1
    assert value(metrics, "vllm:kv_cache_usage_perc") == 0.25
    assert value(metrics, "vllm:iteration_tokens_total_sum") == 40


def test_an_idle_engine_makes_no_steps(metrics: EngineMetrics) -> None:
    step(metrics)
    assert value(metrics, "vllm:iteration_tokens_total_count") == 0


def test_prefix_counts_are_those_of_the_cache(metrics: EngineMetrics) -> None:
    for prefixes in ((10, 4), (10, 4), (25, 16)):
        step(metrics, prefixes=prefixes)
    assert value(metrics, "vllm:prefix_cache_queries_total") == 25
    assert value(metrics, "vllm:prefix_cache_hits_total") == 16


def test_one_list_of_adapters_is_shown_at_a_time(metrics: EngineMetrics) -> None:
    assert shown(metrics) == [("4", "", "")]
    step(metrics, running=("b", "a", "b"), waiting=("c",))
    step(metrics, running=("a", "b"), waiting=("c",))
    assert shown(metrics) == [("4", "a,b", "c")]
    step(metrics)
    assert shown(metrics) == [("4", "", "")]


def test_a_first_token_counts_the_prompt(metrics: EngineMetrics) -> None:
    metrics.first_token(7, 0.5, 0.2)
    assert value(metrics, "vllm:prompt_tokens_total") == 7
    assert value(metrics, "vllm:time_to_first_token_seconds_sum") == 0.5
    assert value(metrics, "vllm:request_queue_time_seconds_sum") == 0.2


def test_an_end_counts_for_the_engine_once_and_for_each_adapter(metrics: EngineMetrics) -> None:
    metrics.finished(5, 1.5, "stop", ("a:1", "b:2"))
    metrics.finished(3, 0.5, "length", ("a:1",))
    metrics.finished(2, 0.5, "length", ())
    assert value(metrics, "vllm:generation_tokens_total") == 10
    assert value(metrics, "vllm:e2e_request_latency_seconds_count") == 3
    assert value(metrics, "vllm:request_success_total", finished_reason="length") == 2
    assert value(metrics, "lorad:adapter_tokens_total", adapter="a:1") == 8
    assert value(metrics, "lorad:adapter_tokens_total", adapter="b:2") == 5
    assert value(metrics, "lorad:adapter_request_seconds_sum", adapter="a:1") == 2


def test_adapters_beyond_a_thousand_share_a_label(metrics: EngineMetrics) -> None:
    for number in range(1005):
        metrics.finished(1, 0.1, "stop", (f"adapter:{number}",))
    metrics.finished(1, 0.1, "stop", ("adapter:0", "adapter:1004"))
    families = {family.name: family for family in metrics.registry.collect()}
    labels = {sample.labels["adapter"] for sample in families["lorad:adapter_tokens"].samples}
    assert len(labels) == 1001
    assert value(metrics, "lorad:adapter_tokens_total", adapter="other") == 6
    assert value(metrics, "lorad:adapter_tokens_total", adapter="adapter:0") == 2


def test_residency_is_counted(metrics: EngineMetrics) -> None:
    metrics.resident(2, 5)
    metrics.adapter_loaded(0.3)
    metrics.adapter_evicted()
    metrics.preempted()
    assert value(metrics, "lorad:adapters_resident", tier="device") == 2
    assert value(metrics, "lorad:adapters_resident", tier="host") == 5
    assert value(metrics, "lorad:adapter_loads_total") == 1
    assert value(metrics, "lorad:adapter_load_seconds_sum") == 0.3
    assert value(metrics, "lorad:adapter_evictions_total") == 1
    assert value(metrics, "vllm:num_preemptions_total") == 1


def test_engines_beside_each_other_count_for_themselves(metrics: EngineMetrics) -> None:
    other = EngineMetrics("base")
    metrics.preempted()
    assert value(other, "vllm:num_preemptions_total") == 0


def test_many_equal_gaps_count_each(metrics: EngineMetrics) -> None:
    metrics.between_tokens(0.03, 31)
    metrics.between_tokens(0.2, 1)
    assert value(metrics, "vllm:inter_token_latency_seconds_count") == 32
    assert value(metrics, "vllm:inter_token_latency_seconds_bucket", le="0.025") == 0
    assert value(metrics, "vllm:inter_token_latency_seconds_bucket", le="0.05") == 31
    assert value(metrics, "vllm:inter_token_latency_seconds_sum") == pytest.approx(1.13)


@given(st.lists(st.tuples(st.sampled_from([0, 0.25, 0.5, 0.75, 1, 7]), st.integers(1, 4)), max_size=8))
def test_a_weighted_histogram_reads_like_the_librarys(seen: list[tuple[float, int]]) -> None:
    ours, theirs, buckets = CollectorRegistry(), CollectorRegistry(), (0.25, 0.5, 1)
    weighted = WeightedHistogram("name", "text", "base", buckets)
    ours.register(weighted)
    plain = Histogram("name", "text", ["model_name"], registry=theirs, buckets=buckets).labels("base")
    for each, count in seen:
        weighted.observe(each, count)
        for _ in range(count):
            plain.observe(each)
    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected
