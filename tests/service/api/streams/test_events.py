import json
from typing import Any

import pytest

from service.engine.errors import EngineFailedError
from service.engine.stream import TokenStream
from tests.service.api.conftest import AsgiCall, Running, RunServer, error_of, wait_until

LONG = {"prompt": "hello", "max_tokens": 200, "ignore_eos": True}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 200, "ignore_eos": True}


def idle(server: Running) -> bool:
    engine, in_flight = server.inference.engine, server.lifecycle.in_flight
    return in_flight.num_requests == 0 and in_flight.num_answers == 0 and engine.alive


def cancelled(server: Running) -> float:
    text = server.client.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total") and "cancel" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_streams_of_different_adapters_never_mix(shared: Running) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompt": prompt, "adapter": adapter, "max_tokens": 24, "ignore_eos": True}
        for prompt in ("hello", "the ticket", "You are what you read")
        for adapter in (None, "a:1", "a:2", "b")
    ]
    alone = [shared.client.post("/generate", json=body).json()["outputs"][0]["text"] for body in bodies]
    calls = [AsgiCall(shared, "/generate", json.dumps({**body, "stream": True}).encode()) for body in bodies * 3]
    for future in [call.start() for call in calls]:
        assert future.result(60) == 200
    assert [streamed(call.received) for call in calls] == alone * 3
    assert len(set(alone)) >= 9


def streamed(received: bytes) -> str:
    lines = [line[6:] for line in received.decode().splitlines() if line.startswith("data: ")]
    return "".join(json.loads(line).get("text", "") for line in lines)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", LONG),
        ("/generate", {**LONG, "stream": True, "prompt": ["a", "b", "c"]}),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True, "n": 2}),
        ("/v1/completions", {"model": "tiny", **LONG, "stream": True}),
    ],
)
def test_a_client_that_goes_away_frees_the_engine(run_server: RunServer, path: str, body: dict[str, Any]) -> None:
    with run_server() as server:
        server.gate.opened.clear()
        call = AsgiCall(server, path, json.dumps(body).encode())
        future = call.start()
        wait_until(lambda: server.lifecycle.in_flight.num_answers > 0)
        call.hang_up()
        future.result(20)
        assert server.lifecycle.in_flight.num_answers == 0
        server.gate.opened.set()
        wait_until(lambda: cancelled(server) > 0)
        wait_until(lambda: idle(server))
        assert server.client.post("/generate", json={"prompt": "x", "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_shutdown_in_the_middle_of_an_answer_is_told(run_server: RunServer, stream: bool) -> None:
    with run_server() as server:
        server.gate.opened.clear()
        call = AsgiCall(server, "/v1/chat/completions", json.dumps({**CHAT, "stream": stream}).encode())
        future = call.start()
        wait_until(lambda: server.lifecycle.in_flight.num_answers > 0)
        server.lifecycle.drain()
        server.lifecycle.in_flight.cancel()
        server.gate.opened.set()
        assert future.result(20) == (200 if stream else 503)
        assert b"server_draining" in call.received
        assert not stream or call.received.endswith(b"data: [DONE]\r\n\r\n")


def test_an_error_after_the_start_ends_the_stream_with_an_event(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_requests: object) -> list[TokenStream]:
        stream = TokenStream(1)
        stream.put(EngineFailedError("it broke"))
        return [stream]

    monkeypatch.setattr(shared.inference.engine, "submit_all", fail)
    lorad = shared.client.post("/generate", json={"prompt": "x", "stream": True})
    openai = shared.client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert "event: error" in lorad.text
    assert "engine_failed" in lorad.text
    assert '"code":"engine_failed"' in openai.text
    assert openai.text.endswith("data: [DONE]\r\n\r\n")


def test_a_full_queue_is_told_before_a_stream_begins_and_leaves_nothing_behind(run_server: RunServer) -> None:
    with run_server(max_waiting=2, max_num_seqs=1) as server:
        server.gate.opened.clear()
        calls = [AsgiCall(server, "/generate", json.dumps(LONG).encode()) for _ in range(3)]
        futures = []
        for count, call in enumerate(calls, start=1):
            futures.append(call.start())
            wait_until(lambda count=count: server.lifecycle.in_flight.num_answers == count)  # type: ignore[misc]
            if count == 1:
                wait_until(lambda: 'vllm:num_requests_waiting{model_name="tiny"} 0.0' in metrics(server))
        for stream in (False, True):
            response = server.client.post("/generate", json={**LONG, "stream": stream})
            assert (response.status_code, error_of(response)["code"]) == (429, "queue_full")
            assert int(response.headers["retry-after"]) > 0
        server.gate.opened.set()
        assert [future.result(60) for future in futures] == [200] * 3
        wait_until(lambda: idle(server))


def metrics(server: Running) -> str:
    text: str = server.client.get("/metrics").text
    return text
