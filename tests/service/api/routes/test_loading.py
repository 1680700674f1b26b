from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.api.conftest import Running, RunServer, archive_of, error_of, upload


@pytest.fixture
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    with run_server(max_loras=2, max_cpu_loras=2) as running:
        for name, archive in (("a", "a"), ("b", "b"), ("a", "b")):
            upload(running.client, name, archives[archive])
        yield running


def load(server: Running, name: str) -> Any:
    return server.client.post("/v1/load_lora_adapter", json={"lora_name": name})


def unload(server: Running, name: str) -> Any:
    return server.client.post("/v1/unload_lora_adapter", json={"lora_name": name})


def places(server: Running, name: str) -> list[tuple[int, str, bool]]:
    versions = server.client.get(f"/v1/adapters/{name}").json()["versions"]
    return [(each["number"], each["residency"], each["pinned"]) for each in versions]


def test_a_loaded_adapter_is_there_and_stays(server: Running) -> None:
    assert places(server, "a") == [(2, "store", False), (1, "store", False)]
    loaded = load(server, "a:1")
    assert loaded.status_code == 200, loaded.text
    assert (loaded.json()["id"], loaded.json()["residency"], loaded.json()["pinned"]) == ("a:1", "device", True)
    assert places(server, "a") == [(2, "store", False), (1, "device", True)]
    [listed] = [each for each in server.client.get("/v1/adapters").json()["data"] if each["name"] == "a"]
    assert listed["versions"][1]["pinned"] is True
    assert server.client.get("/v1/adapters/a/versions/1").json()["residency"] == "device"


def test_loading_twice_is_loading_once(server: Running) -> None:
    assert load(server, "a:1").json() == load(server, "a:1").json()


def test_an_unloaded_adapter_serves_all_the_same(server: Running) -> None:
    load(server, "a:1")
    unloaded = unload(server, "a:1")
    assert unloaded.json() == {"object": "list", "unloaded": ["a:1"]}
    assert places(server, "a")[1][2] is False
    answer = server.client.post("/generate", json={"prompt": "x", "adapter": "a:1", "max_tokens": 2})
    assert answer.status_code == 200


def test_a_bare_name_unloads_whatever_it_meant_when_it_was_loaded(server: Running, archives: dict[str, bytes]) -> None:
    load(server, "b")
    upload(server.client, "b", archives["a"])
    assert unload(server, "b").json()["unloaded"] == ["b:1"]


def test_what_is_not_loaded_cannot_be_unloaded(server: Running) -> None:
    response = unload(server, "b")
    assert (response.status_code, error_of(response)["code"]) == (400, "not_loaded")


def test_one_place_stays_free(server: Running) -> None:
    assert load(server, "a:1").status_code == 200
    response = load(server, "b")
    assert (response.status_code, error_of(response)["code"]) == (400, "too_many_pins")
    # A refused pin leaves nothing behind.
    unload(server, "a:1")
    assert load(server, "b").status_code == 200


def test_a_deleted_adapter_is_unloaded(server: Running) -> None:
    load(server, "a:1")
    assert server.client.delete("/v1/adapters/a/versions/1").status_code == 200
    assert server.inference.engine.pinned() == []
    load(server, "b")
    assert server.client.delete("/v1/adapters/b").status_code == 200
    assert server.inference.engine.pinned() == []


def test_a_path_is_refused_with_what_to_do(server: Running) -> None:
    response = server.client.post("/v1/load_lora_adapter", json={"lora_name": "a", "lora_path": "/etc"})
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "lora_path", "unsupported_parameter")
    assert "POST /v1/adapters" in error["hint"]


@pytest.mark.parametrize("name", ["nobody", "a:9", "a@prod", "../a", "Not A Name"])
def test_a_name_without_an_adapter_is_not_found(server: Running, name: str) -> None:
    assert (load(server, name).status_code, error_of(load(server, name))["code"]) == (404, "model_not_found")


def test_the_base_is_no_adapter(server: Running) -> None:
    response = load(server, "tiny")
    assert (response.status_code, error_of(response)["param"]) == (400, "lora_name")


def test_an_adapter_that_cannot_be_loaded_says_so_and_is_not_pinned(
    server: Running, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    upload(server.client, "broken", archive_of(make_adapter(tmp_path / "broken", seed=9)))
    version = server.inference.registry.resolve("default", "broken")
    (version.path / "adapter_model.safetensors").write_bytes(b"gone")
    response = load(server, "broken")
    assert (response.status_code, error_of(response)["code"]) == (500, "adapter_load_failed")
    assert str(server.settings.home) not in response.text
    assert server.inference.engine.pinned() == []


def test_loading_needs_the_scope_admin(run_server: RunServer, archives: dict[str, bytes]) -> None:
    keys = "acme=all,acme:infer=reader,acme:train=publisher,acme:admin=operator"
    with run_server(api_keys=keys) as server:
        upload(server.client, "a", archives["a"], authorization="Bearer all")

        def status(path: str, key: str, name: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            code: int = server.client.post(path, json={"lora_name": name}, headers=headers).status_code
            return code

        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            for name in ("a", "nobody"):
                assert [status(path, key, name) for key in ("reader", "publisher", "wrong")] == [403, 403, 401]
            assert status(path, "operator", "a") == 200


def test_without_adapters_nothing_but_the_base_is_served(run_server: RunServer, archives: dict[str, bytes]) -> None:
    with run_server(max_loras=0) as server:
        assert upload(server.client, "a", archives["a"]).status_code == 201
        assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["tiny"]
        assert server.client.post("/generate", json={"prompt": "x", "max_tokens": 2}).status_code == 200
        user = [{"role": "user", "content": "x"}]
        for path, body, param in (
            ("/generate", {"prompt": "x", "adapter": "a"}, "adapter"),
            ("/generate", {"prompt": "x", "adapters": [None, "a"]}, "adapters"),
            ("/v1/completions", {"model": "a", "prompt": "x"}, "model"),
            ("/v1/chat/completions", {"model": "a", "messages": user}, "model"),
            ("/v1/load_lora_adapter", {"lora_name": "a"}, "lora_name"),
        ):
            response = server.client.post(path, json=body)
            error = error_of(response)
            assert (response.status_code, error["code"], error["param"]) == (400, "invalid_adapters", param)
            assert "--max-loras 0" in error["message"]
