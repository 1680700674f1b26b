"""Adapters at a strength, and several at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.api.conftest import RunServer, archive_of, error_of, upload

PROMPT = "the ticket is about refunds"
USER = [{"role": "user", "content": PROMPT}]


def outputs(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/generate", json={"prompt": PROMPT, "max_tokens": 12, "ignore_eos": True, **body})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["outputs"]
    return found


def merge(**weights: float) -> dict[str, Any]:
    return {"merge": [{"adapter": name.replace("_", ":"), "weight": weight} for name, weight in weights.items()]}


def test_bases_adapters_and_merges_answer_side_by_side(client: TestClient) -> None:
    adapters = [None, "a:1", "b", merge(a_1=0.5, b=0.5), {"adapter": "a:1", "scale": 0.4}]
    found = outputs(client, adapters=adapters)
    assert [each["adapter"] for each in found] == adapters
    assert [each["version"] for each in found] == [None, "a:1", "b:1", None, "a:1"]
    assert len({each["text"] for each in found}) == 5
    alone = [outputs(client, adapter=adapter)[0]["text"] for adapter in adapters]
    assert [each["text"] for each in found] == alone


def test_a_merge_names_every_version(client: TestClient) -> None:
    [found] = outputs(client, adapter=merge(a=0.5, b=-0.25))
    versions = [client.get(f"/v1/adapters/{name}").json()["latest"] for name in ("a", "b")]
    # a:2 holds what b:1 does: one content, one change.
    assert found["version"] == "a:2"
    [found] = outputs(client, adapter=merge(a_1=0.5, b=-0.25))
    assert (found["version"], found["digest"]) == (None, None)
    assert [(part["version"], part["weight"]) for part in found["merged"]] == [("a:1", 0.5), ("b:1", -0.25)]
    assert found["merged"][1]["digest"] == versions[1]["digest"]


def test_weights_mean_what_they_say(client: TestClient) -> None:
    base, adapter = (each["text"] for each in outputs(client, adapters=[None, "a:1"]))
    assert outputs(client, adapter={"adapter": "a:1", "scale": 0})[0]["text"] == base
    assert outputs(client, adapter={"adapter": "a:1", "scale": 1})[0]["text"] == adapter
    assert outputs(client, adapter=merge(a_1=1, b=0))[0]["text"] == adapter
    [first] = outputs(client, adapter=merge(a_1=0.3, b=0.6))
    [second] = outputs(client, adapter=merge(b=0.6, a_1=0.3))
    assert first["text"] == second["text"]


def test_a_stream_names_what_is_merged(client: TestClient) -> None:
    body = {"prompt": PROMPT, "max_tokens": 12, "ignore_eos": True, "adapter": merge(a_1=0.5, b=0.5)}
    text = client.post("/generate", json={**body, "stream": True}).text
    deltas = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")][:-1]
    assert {tuple(part["version"] for part in each["merged"]) for each in deltas} == {("a:1", "b:1")}
    assert "".join(each["text"] for each in deltas) == outputs(client, adapter=body["adapter"])[0]["text"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_openais_routes_scale_and_merge_too(client: TestClient, path: str) -> None:
    asked = {"messages": USER} if "chat" in path else {"prompt": PROMPT}

    def answer(**body: Any) -> tuple[str, str]:
        values = {**asked, "max_tokens": 12, "temperature": 0, "ignore_eos": True, **body}
        response = client.post(path, json=values)
        assert response.status_code == 200, response.text
        choice = response.json()["choices"][0]
        return response.json()["model"], choice["message"]["content"] if "message" in choice else choice["text"]

    half = merge(a_1=0.5, b=0.5)["merge"]
    assert answer(model="a:1", adapter_scale=1) == answer(model="a:1")
    assert answer(model="a:1", adapter_scale=0)[1] == answer(model="tiny")[1]
    model, text = answer(model="tiny", merge=half)
    assert model == "a:1*0.5+b:1*0.5"
    assert text not in (answer(model="tiny")[1], answer(model="a:1")[1], answer(model="b")[1])
    assert answer(model="a:1", adapter_scale=0.5)[0] == "a:1*0.5"


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({"model": "a", "merge": [{"adapter": "b", "weight": 1}]}, 400, "model", "invalid_value"),
        ({"model": "tiny", "adapter_scale": 1}, 400, "adapter_scale", "invalid_value"),
        ({"model": "tiny", "merge": [{"adapter": "tiny", "weight": 1}]}, 400, "merge", "invalid_adapters"),
        ({"model": "tiny", "merge": [{"adapter": "nobody", "weight": 1}]}, 404, None, "model_not_found"),
        ({"model": "tiny", "merge": [{"adapter": "No Name", "weight": 1}]}, 404, "merge", "model_not_found"),
        ({"model": "tiny", "merge": [{"adapter": "a", "weight": 1}] * 9}, 400, "merge", "invalid_value"),
        ({"model": "a", "adapter_scale": 11}, 400, "adapter_scale", "invalid_value"),
    ],
)
def test_what_cannot_be_merged_is_named(
    client: TestClient, body: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    response = client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2, **body})
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (status, param, code), error


def test_dora_acts_whole_and_alone(
    run_server: RunServer, archives: dict[str, bytes], make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    with run_server() as server:
        upload(server.client, "a", archives["a"])
        upload(server.client, "dora", archive_of(make_adapter(tmp_path / "dora", seed=5, dora=True)))
        assert outputs(server.client, adapter={"adapter": "dora", "scale": 1})[0]["version"] == "dora:1"
        for adapter in ({"adapter": "dora", "scale": 0.5}, merge(a=0.5, dora=1)):
            response = server.client.post("/generate", json={"prompt": "x", "adapter": adapter})
            error = error_of(response)
            assert (response.status_code, error["code"], error["param"]) == (400, "invalid_adapters", "adapter"), error
        streamed = server.client.post(
            "/v1/completions", json={"model": "dora", "adapter_scale": 0.5, "prompt": "x", "stream": True}
        )
        error = error_of(streamed)
        assert (streamed.status_code, error["code"], error["param"]) == (400, "invalid_adapters", "adapter_scale")
