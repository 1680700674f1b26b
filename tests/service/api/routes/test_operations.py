from prometheus_client.parser import text_string_to_metric_families

from tests.service.api.conftest import Running, RunServer, upload


def samples(text: str) -> dict[str, float]:
    """By name, and by `name/tier` or `name/adapter` where there is such a label."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        "/".join(
            [sample.name, *(sample.labels[key] for key in ("tier", "adapter") if key in sample.labels)]
        ): sample.value
        for sample in found
    }


def test_a_server_that_is_ready_says_so(shared: Running) -> None:
    for path in ("/live", "/health", "/version", "/openapi.json", "/docs"):
        assert shared.client.get(path).status_code == 200


def test_a_draining_server_lives_but_takes_nothing_new(run_server: RunServer) -> None:
    with run_server() as server:
        server.lifecycle.drain()
        assert server.client.get("/live").status_code == 200
        assert server.client.get("/health").status_code == 503
        response = server.client.post("/generate", json={"prompt": "x"})
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert response.json()["error"]["code"] == "server_draining"


def test_metrics_count_adapters_and_requests(run_server: RunServer, archives: dict[str, bytes]) -> None:
    with run_server() as server:
        upload(server.client, "a", archives["a"])
        before = samples(server.client.get("/metrics").text)
        server.client.post("/generate", json={"prompt": "x", "adapter": "a", "max_tokens": 3, "ignore_eos": True})
        after = server.client.get("/metrics")
        assert after.headers["content-type"].startswith("text/plain")
        counted = samples(after.text)
        assert before.get("lorad:adapters_resident/device", 0) == 0
        assert counted["lorad:adapters_resident/device"] == 1
        assert counted["vllm:generation_tokens_total"] == 3
        assert counted["lorad:adapter_tokens_total/a:1"] == 3
        assert 'vllm:lora_requests_info{max_lora="16"' in after.text


def test_every_documented_field_is_described(shared: Running) -> None:
    document = shared.client.get("/openapi.json").json()
    temperature = document["components"]["schemas"]["GenerateBody"]["properties"]["temperature"]
    assert "likeliest" in temperature["description"]


def test_names_of_adapters_are_their_tenants_business(run_server: RunServer, archives: dict[str, bytes]) -> None:
    with run_server(api_keys="acme=one,other=two") as server:
        upload(server.client, "secret", archives["a"], authorization="Bearer one")
        body = {"prompt": "x", "adapter": "secret", "max_tokens": 3, "ignore_eos": True}
        assert server.client.post("/generate", json=body, headers={"authorization": "Bearer one"}).status_code == 200

        def seen(key: str) -> str:
            text: str = server.client.get("/metrics", headers={"authorization": f"Bearer {key}"}).text
            return text

        assert 'lorad:adapter_tokens_total{adapter="secret:1"' in seen("one")
        assert "secret" not in seen("two")
