import threading
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from adapters.registry import Registry
from service.api.app import create_app, open_inference
from service.api.process.lifecycle import Lifecycle
from service.errors import SettingsError
from service.inference.inference import Inference
from service.settings import Settings
from tests.service.api.conftest import LOCAL, error_of, wait_until


def test_while_the_base_is_loaded_the_server_lives_and_asks_to_come_back(
    make_settings: Callable[..., Settings],
) -> None:
    go_on = threading.Event()

    def slow(registry: Registry, settings: Settings) -> Inference:
        assert go_on.wait(30)
        return open_inference(registry, settings)

    with TestClient(create_app(make_settings(), open_inference=slow), base_url=LOCAL) as client:
        assert client.get("/live").status_code == 200
        assert client.get("/health").json() == {"status": "loading"}
        for method, path in (("POST", "/generate"), ("GET", "/v1/models"), ("POST", "/evaluate")):
            response = client.request(method, path, json={"prompt": "x"})
            assert (response.status_code, error_of(response)["code"]) == (503, "server_loading")
            assert int(response.headers["retry-after"]) > 0
        assert client.get("/v1/adapters").status_code == 200
        go_on.set()
        wait_until(lambda: client.get("/health").status_code == 200)
        assert client.post("/generate", json={"prompt": "x", "max_tokens": 1}).status_code == 200


def test_a_base_that_cannot_be_loaded_is_kept_for_whoever_runs_the_server(
    make_settings: Callable[..., Settings],
) -> None:
    lifecycle = Lifecycle()
    with TestClient(
        create_app(make_settings(base_model="no-such-base"), lifecycle=lifecycle), base_url=LOCAL
    ) as client:
        wait_until(lambda: lifecycle.failure is not None)
        assert client.get("/health").json() == {"status": "failed"}
    assert "no-such-base" in str(lifecycle.failure)


def test_the_engine_ends_with_the_application(make_settings: Callable[..., Settings]) -> None:
    lifecycle = Lifecycle()
    with TestClient(create_app(make_settings(), lifecycle=lifecycle), base_url=LOCAL):
        wait_until(lambda: lifecycle.phase == "ready")
        inference = lifecycle.inference()
    assert not inference.engine.alive
    assert lifecycle.phase == "draining"


def test_malformed_keys_are_refused_at_once(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="LORAD_API_KEYS"):
        create_app(make_settings(api_keys="nonsense"))
