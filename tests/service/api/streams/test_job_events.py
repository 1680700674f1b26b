import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.api.errors.problem import ApiError
from service.api.streams import followed
from service.api.streams.limit import EventStreams
from storage.database import Database
from storage.errors import StorageUnavailableError
from tests.service.api.conftest import AsgiCall, Running, RunServer, error_of, wait_until
from tests.service.api.job_events import say

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server() as server:
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


@pytest.fixture
def job(client: TestClient) -> str:
    files = {"file": ("train.jsonl", b'{"prompt": "a", "completion": "b"}\n')}
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
    return str(client.post(JOBS, json={"model": "tiny", "training_file": file}).json()["id"])


def parsed(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Id and data of each event."""
    found = re.findall(r"id: (\S+)\r?\ndata: (.*?)\r?\n\r?\n", text)
    return [(event_id, json.loads(data)) for event_id, data in found]


def listed(client: TestClient, job: str) -> list[dict[str, Any]]:
    """Oldest first."""
    events: list[dict[str, Any]] = client.get(f"{JOBS}/{job}/events", params={"limit": 1000}).json()["data"]
    return events[::-1]


def test_the_stream_of_an_ended_job_is_its_list_and_ends(server: Running, client: TestClient, job: str) -> None:
    say(server, job, 3)
    client.post(f"{JOBS}/{job}/cancel")
    response = client.get(f"{JOBS}/{job}/events", params={"stream": "true"})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parsed(response.text)
    assert [data for _, data in events] == listed(client, job)
    assert [event_id for event_id, data in events] == [data["id"] for _, data in events]


def test_the_accept_header_asks_for_a_stream_too(client: TestClient, job: str) -> None:
    client.post(f"{JOBS}/{job}/cancel")
    accept = {"Accept": "text/event-stream"}
    assert parsed(client.get(f"{JOBS}/{job}/events", headers=accept).text)
    whole = client.get(f"{JOBS}/{job}/events", params={"stream": "false"}, headers=accept)
    assert whole.json()["object"] == "list"


def test_a_stream_is_taken_up_again_without_gap_or_repeat(server: Running, client: TestClient, job: str) -> None:
    say(server, job, 5)
    client.post(f"{JOBS}/{job}/cancel")
    events = listed(client, job)
    for at, event in enumerate(events):
        response = client.get(f"{JOBS}/{job}/events?stream=true", headers={"Last-Event-ID": event["id"]})
        rest = events[at + 1 :]
        assert response.status_code == (200 if rest else 204)
        assert [data for _, data in parsed(response.text)] == rest


def test_what_is_no_event_cannot_be_gone_on_from(client: TestClient, job: str) -> None:
    for headers, params in (({"Last-Event-ID": "7; drop"}, {"stream": "true"}), ({}, {"after": "ftevent-x"})):
        response = client.get(f"{JOBS}/{job}/events", headers=headers, params=params)
        assert response.status_code == 400
        assert error_of(response)["param"] in ("Last-Event-ID", "after")


def test_events_arrive_while_the_job_runs_and_the_stream_ends_with_it(
    server: Running, client: TestClient, job: str
) -> None:
    call = AsgiCall(server, f"{JOBS}/{job}/events", method="GET", query="stream=true")
    done = call.start()
    wait_until(lambda: b"Created" in call.received)
    for number in (1, 2, 3):
        say(server, job, 1, first=number)
        wait_until(lambda number=number: f"line {number}".encode() in call.received)  # type: ignore[misc]
    assert not done.done()
    client.post(f"{JOBS}/{job}/cancel")
    assert done.result(20) == 200
    assert [data for _, data in parsed(call.received.decode())] == listed(client, job)


def test_a_stream_outlives_a_database_that_goes_away(
    server: Running, client: TestClient, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def gone(*_: object) -> None:
        tried.set()
        raise StorageUnavailableError("the database is away")

    call = AsgiCall(server, f"{JOBS}/{job}/events", method="GET", query="stream=true")
    done = call.start()
    wait_until(lambda: b"Created" in call.received)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "reading", gone)
        assert tried.wait(20)
    say(server, job, 1)
    client.post(f"{JOBS}/{job}/cancel")
    assert done.result(20) == 200
    assert [data for _, data in parsed(call.received.decode())] == listed(client, job)


def test_a_client_that_goes_away_leaves_nothing_behind(server: Running, job: str) -> None:
    streams = server.client.app_state["lorad"].event_streams
    calls = [AsgiCall(server, f"{JOBS}/{job}/events", method="GET", query="stream=true") for _ in range(3)]
    futures = [call.start() for call in calls]
    wait_until(lambda: all(b"Created" in call.received for call in calls))
    assert streams.num_open == 3
    for call in calls:
        call.hang_up()
    for future in futures:
        future.result(20)
    assert streams.num_open == 0
    wait_until(lambda: server.lifecycle.in_flight.num_requests == 0)


def test_a_quiet_stream_shows_that_it_lives(server: Running, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "HEARTBEAT_SECONDS", 0.01)
    call = AsgiCall(server, f"{JOBS}/{job}/events", method="GET", query="stream=true")
    done = call.start()
    wait_until(lambda: call.received.count(b": ping") > 2)
    call.hang_up()
    done.result(20)


def test_a_server_that_drains_ends_its_streams(run_server: RunServer) -> None:
    with run_server() as server:
        files = {"file": ("train.jsonl", b'{"prompt": "a", "completion": "b"}\n')}
        file = server.client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"]
        job = server.client.post(JOBS, json={"model": "tiny", "training_file": file}).json()["id"]
        call = AsgiCall(server, f"{JOBS}/{job}/events", method="GET", query="stream=true")
        done = call.start()
        wait_until(lambda: b"Created" in call.received)
        server.lifecycle.drain()
        assert done.result(20) == 200


def test_there_are_only_so_many_streams() -> None:
    streams = EventStreams(1)
    with streams.place():
        with pytest.raises(ApiError) as refused, streams.place():
            pytest.fail("there was no place")
        assert refused.value.problem.code == "too_many_streams"
    with streams.place():
        assert streams.num_open == 1
