"""The database goes away: what needs it says when to come back, and adapters in memory go on answering."""

from collections.abc import Iterator

import pytest

from storage.database import Database
from storage.errors import StorageUnavailableError
from tests.service.api.conftest import Running, RunServer, error_of, upload

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    with run_server() as server:
        for name in ("a", "b"):
            assert upload(server.client, name, archives[name]).status_code == 201
        yield server


def ask(server: Running, model: str) -> tuple[int, str]:
    response = server.client.post(
        "/v1/chat/completions", json={"model": model, "messages": HELLO, "max_tokens": 4, "temperature": 0}
    )
    return response.status_code, response.text if response.is_error else response.json()["choices"][0]["message"]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def gone(_self: Database) -> None:
        raise StorageUnavailableError("the database db.internal cannot be used")

    for method in ("session", "reading"):
        monkeypatch.setattr(Database, method, gone)
    return monkeypatch


def test_adapters_in_memory_go_on_answering(server: Running, request: pytest.FixtureRequest) -> None:
    before = ask(server, "a")
    assert before[0] == 200
    away: pytest.MonkeyPatch = request.getfixturevalue("away")
    for _ in range(3):
        assert ask(server, "a") == before
    assert ask(server, "tiny")[0] == 200
    # Nobody asked for it before: nothing is known of it.
    assert ask(server, "b")[0] == 503
    away.undo()
    assert ask(server, "b")[0] == 200


def test_a_deleted_adapter_is_forgotten(server: Running, request: pytest.FixtureRequest) -> None:
    assert ask(server, "a")[0] == 200
    assert server.client.delete("/v1/adapters/a").status_code == 200
    assert ask(server, "a")[0] == 404
    request.getfixturevalue("away")
    assert ask(server, "a")[0] == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/fine_tuning/jobs/ftjob-1/events?stream=true"),
        ("POST", "/v1/fine_tuning/jobs/ftjob-1/cancel"),
    ],
)
@pytest.mark.usefixtures("away")
def test_what_needs_the_database_says_when_to_come_back(shared: Running, method: str, path: str) -> None:
    response = shared.client.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (503, "storage_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert "db.internal" not in response.text
