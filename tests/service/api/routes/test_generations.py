import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from corpus.synthetic.writing import Ask, Reply
from service.generation.engine_writer import EngineWriter
from service.generation.run import WAVE
from service.settings import Settings
from tests.service.api.conftest import Running, RunServer, error_of, running, wait_until
from tests.service.generation.conftest import SEEDS, RuleWriter

BODY = {"recipe": "self-instruct", "count": 6, "language": False}
ENDED = ("completed", "partial", "cancelled", "failed")


@pytest.fixture(scope="module")
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server(api_keys="acme=key,other=theirs,acme:infer=weak") as server:
        server.client.headers["Authorization"] = "Bearer key"
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


@pytest.fixture
def by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny base writes noise: sentences come by a rule in its place."""
    monkeypatch.setattr(EngineWriter, "write", lambda _self, asks: RuleWriter().write(asks))


def send(client: TestClient, content: str = SEEDS, name: str = "seeds.jsonl", **headers: str) -> str:
    files = {"file": (name, content.encode())}
    sent = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files, headers=headers)
    return str(sent.json()["id"])


def generate(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/data/generate", json={**BODY, "seeds": [send(client)], **changes})


def ended(client: TestClient, generation_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(client.get(f"/v1/data/generations/{generation_id}").json())
        return found["status"] in ENDED

    wait_until(has_ended, seconds=60)
    return found


@pytest.mark.usefixtures("by_rule")
def test_rows_become_a_file_that_says_where_each_comes_from(client: TestClient, server: Running) -> None:
    asked = generate(client, filename="more.jsonl")
    assert asked.status_code == 202
    assert asked.json()["status"] == "queued"

    found = ended(client, asked.json()["id"])

    assert (found["status"], found["kept"], found["error"]) == ("completed", 6, None)
    assert found["attempts"] == 6 + sum(found["dropped"].values())
    assert found["examples"][0].endswith("No.")
    assert (found["model"], found["digest"]) == ("tiny", server.inference.base.digest)
    file = client.get(f"/v1/files/{found['file_id']}").json()
    assert (file["filename"], file["status"], file["purpose"]) == ("more.jsonl", "processed", "fine-tune")
    rows = [json.loads(line) for line in client.get(f"/v1/files/{file['id']}/content").text.splitlines()]
    assert len({row["text"] for row in rows}) == 6
    assert {row["label"] for row in rows} <= {"card_arrival", "cancel_transfer"}
    assert all(row["provenance"]["seeds"][0].startswith("seeds.jsonl:") for row in rows)


def test_the_models_own_words_go_through_the_sieve(client: TestClient) -> None:
    found = ended(client, generate(client, max_attempts=4).json()["id"])

    assert found["status"] == "partial"
    assert found["error"] == f"{found['kept']} of 6 rows were kept in 4 attempts, the limit"
    assert sum(found["dropped"].values()) == 4 - found["kept"]


@pytest.mark.usefixtures("by_rule")
def test_held_out_rows_are_kept_away_from(client: TestClient) -> None:
    first = ended(client, generate(client).json()["id"])
    again = ended(client, generate(client, held_out=[first["file_id"]]).json()["id"])

    assert again["dropped"]["held_out"] >= 6


def test_a_generation_is_cancelled_and_resumed(
    client: TestClient, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.gate.opened.clear()
    made = generate(client).json()["id"]
    wait_until(lambda: client.get(f"/v1/data/generations/{made}").json()["status"] == "running")
    assert client.post(f"/v1/data/generations/{made}/cancel").json()["status"] == "cancelled"
    again = client.post(f"/v1/data/generations/{made}/cancel")
    assert (again.status_code, error_of(again)["code"]) == (400, "invalid_generation_state")
    monkeypatch.setattr(EngineWriter, "write", lambda _self, asks: RuleWriter().write(asks))
    assert client.post(f"/v1/data/generations/{made}/resume").json()["status"] == "queued"
    server.gate.opened.set()

    assert ended(client, made)["kept"] == 6


def test_what_a_server_has_left_is_gone_on_with_by_the_next(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings()
    written = 0

    def counted(_self: object, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        nonlocal written
        written += len(asks)
        yield from RuleWriter().write(asks)

    monkeypatch.setattr(EngineWriter, "write", counted)
    with running(settings) as server:
        made = generate(server.client, count=300).json()["id"]
        wait_until(lambda: server.client.get(f"/v1/data/generations/{made}").json()["kept"] > 3)
    before = written
    with running(settings) as server:
        found = ended(server.client, made)

    assert (found["status"], found["kept"]) == ("completed", 300)
    assert 0 < before < written < found["attempts"] + 3 * WAVE


@pytest.mark.usefixtures("by_rule")
def test_tenants_see_their_own(client: TestClient) -> None:
    mine = generate(client).json()["id"]
    theirs = {"Authorization": "Bearer theirs"}
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/resume")):
        answer = client.request(method, f"/v1/data/generations/{mine}{path}", headers=theirs)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "generation_not_found")
    listed = client.get("/v1/data/generations", params={"limit": 1}).json()
    assert ([each["id"] for each in listed["data"]], listed["has_more"]) == ([mine], True)
    assert client.get("/v1/data/generations", headers=theirs).json()["data"] == []
    weak = client.post("/v1/data/generate", json={}, headers={"Authorization": "Bearer weak"})
    assert error_of(weak)["code"] == "insufficient_scope"
    ended(client, mine)


@pytest.mark.parametrize(
    ("changes", "status", "code", "says"),
    [
        ({"seeds": ["file-none"]}, 404, "file_not_found", "file-none"),
        ({"seeds": []}, 400, "invalid_value", "seeds"),
        ({"recipe": "translate"}, 400, "invalid_value", "recipe"),
        ({"count": 0}, 400, "invalid_value", "count"),
        ({"sedes": []}, 400, "unknown_parameter", "sedes"),
        ({"model": "nobody"}, 404, "model_not_found", "nobody"),
        ({"writer": "operator"}, 400, "judge_unavailable", "LORAD_JUDGE_URL"),
        ({"judged_by": "operator"}, 400, "judge_unavailable", "LORAD_JUDGE_URL"),
        ({"recipe": "questions"}, 400, "invalid_data", "seeds.jsonl:1 is a prompt with an answer"),
        ({"filename": "rows.csv"}, 400, "invalid_value", "filename"),
    ],
)
def test_bad_input_is_refused_at_once(
    client: TestClient, changes: dict[str, Any], status: int, code: str, says: str
) -> None:
    answer = generate(client, **changes)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    assert says in f"{error['param']} {error['message']}"
