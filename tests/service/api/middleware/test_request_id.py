import json
import logging
from typing import Any

import pytest

from tests.service.api.conftest import Running, RunServer


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "lorad.access"]


def test_a_request_keeps_the_name_its_client_gave_it(shared: Running) -> None:
    response = shared.client.get("/v1/models/nobody", headers={"X-Request-Id": "trace-1.2:3_4"})
    assert response.headers["x-request-id"] == "trace-1.2:3_4"
    assert response.json()["error"]["request_id"] == "trace-1.2:3_4"


@pytest.mark.parametrize("given", ["", "x" * 129, 'a"b', "a b", "a\tb", "ü"])
def test_an_odd_name_is_replaced(shared: Running, given: str) -> None:
    response = shared.client.get("/live", headers={b"x-request-id": given.encode()})
    assert len(response.headers["x-request-id"]) == 32


def test_one_line_says_who_asked_what_and_never_the_prompt_or_the_key(
    run_server: RunServer, caplog: pytest.LogCaptureFixture
) -> None:
    with run_server(api_keys="acme=secret-key") as server, caplog.at_level(logging.DEBUG):
        body = {"prompt": "secret prompt", "max_tokens": 3, "ignore_eos": True}
        for stream in (False, True):
            caplog.clear()
            response = server.client.post(
                "/generate", json={**body, "stream": stream}, headers={"Authorization": "Bearer secret-key"}
            )
            [line] = lines(caplog)
            assert line["request_id"] == response.headers["x-request-id"]
            assert (line["tenant"], line["model"], line["status"]) == ("acme", "tiny", 200)
            assert (line["method"], line["path"], line["tokens_out"]) == ("POST", "/generate", 3)
            assert line["tokens_in"] > 0
            assert line["seconds"] >= 0
            assert "secret" not in caplog.text


def test_probes_are_not_logged_at_info(shared: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        shared.client.get("/health")
        shared.client.get("/live")
    assert lines(caplog) == []


def test_an_unforeseen_error_is_logged_and_answered(
    shared: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("disk sda1")

    monkeypatch.setattr("service.api.routes.generate.prepare", fail)
    response = shared.client.post("/generate", json={"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "sda1" not in response.text
    assert "sda1" in caplog.text
    assert response.headers["x-request-id"] == response.json()["error"]["request_id"]
