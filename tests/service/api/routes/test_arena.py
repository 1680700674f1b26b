import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from corpus.dataset import load
from service.api.answers import battles
from tests.service.api.conftest import BASE, Running, RunServer, error_of, upload

ASK = {"prompt": "Say hello.", "max_tokens": 6}


@pytest.fixture(scope="module")
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    """Without keys, with adapters `a` and `b`."""
    with run_server() as server:
        for name in ("a", "b"):
            assert upload(server.client, name, archives[name]).status_code == 201
        yield server


@pytest.fixture
def http(server: Running) -> TestClient:
    return server.client


def battle(http: TestClient, **body: Any) -> dict[str, Any]:
    response = http.post("/v1/arena/battles", json={**ASK, **body})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def generated(http: TestClient, adapter: str | None) -> str:
    body = {**ASK, "adapter": adapter}
    return str(http.post("/generate", json=body).json()["outputs"][0]["text"])


def test_a_battle_is_blind_until_the_vote(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])

    assert made["models"] is None
    assert "a:1" not in json.dumps(made)
    assert BASE not in json.dumps(made)
    assert set(made["a"]) == set(made["b"]) == {"text", "finish_reason"}

    vote = http.post("/v1/arena/votes", json={"battle": made["id"], "winner": "a", "voter": "ann"})

    assert vote.status_code == 201
    assert sorted(vote.json()["models"].values()) == ["a:1", BASE]


def test_each_side_shows_what_its_model_says(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])
    models = http.post("/v1/arena/votes", json={"battle": made["id"], "winner": "tie"}).json()["models"]

    for side in ("a", "b"):
        assert made[side]["text"] == generated(http, None if models[side] == BASE else "a")
    assert made["a"]["text"] != made["b"]["text"]


def test_who_is_who_is_told_to_those_who_voted_only(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])
    http.post("/v1/arena/votes", json={"battle": made["id"], "winner": "b", "voter": "ann"})
    path = f"/v1/arena/battles/{made['id']}"

    voted, others, default = (http.get(path, params=who).json() for who in ({"voter": "ann"}, {"voter": "ben"}, {}))
    listed = http.get("/v1/arena/battles", params={"voter": "ben", "limit": 1}).json()["data"][0]

    assert (voted["winner"], sorted(voted["models"].values())) == ("b", ["a:1", BASE])
    assert (others["winner"], others["models"]) == (default["winner"], default["models"]) == (None, None)
    assert (listed["id"], listed["models"]) == (made["id"], None)


def test_a_voter_votes_once(http: TestClient) -> None:
    made = battle(http, models=["a", "b"])
    body = {"battle": made["id"], "winner": "a"}
    assert http.post("/v1/arena/votes", json=body).status_code == 201

    again = http.post("/v1/arena/votes", json={**body, "winner": "b"})

    assert (again.status_code, error_of(again)["code"]) == (400, "already_voted")
    assert http.post("/v1/arena/votes", json={**body, "voter": "ben"}).status_code == 201


def test_chance_decides_the_sides(http: TestClient) -> None:
    made = [battle(http, models=[None, "a"], max_tokens=1) for _ in range(20)]
    votes = [http.post("/v1/arena/votes", json={"battle": each["id"], "winner": "tie"}).json() for each in made]

    # All on one side would be seen once in 500,000 times.
    assert {vote["models"]["a"] for vote in votes} == {"a:1", BASE}


def test_without_names_anybody_may_meet_anybody(http: TestClient) -> None:
    made = [battle(http, max_tokens=1) for _ in range(25)]
    met = set()
    for each in made:
        vote = http.post("/v1/arena/votes", json={"battle": each["id"], "winner": "tie"}).json()
        assert vote["models"]["a"] != vote["models"]["b"]
        met |= set(vote["models"].values())

    # One of three models would be left out in all 25 once in 25,000 times.
    assert met == {BASE, "a:1", "b:1"}


def test_names_of_the_same_version_make_no_battle(http: TestClient) -> None:
    response = http.post("/v1/arena/battles", json={**ASK, "models": ["a", "a:1"]})

    assert response.status_code == 400
    assert error_of(response)["code"] == "too_few_models"
    assert "only a:1" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"models": ["a", "nobody"]}, "model_not_found", None),
        ({"models": ["a"]}, "invalid_value", "models"),
        ({"prompt": None}, "invalid_value", "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, "invalid_value", "prompt"),
        ({"prompt": None, "messages": [{"role": "assistant", "content": "x"}]}, "invalid_value", "messages"),
        ({"max_tokens": 10**6}, "invalid_value", "max_tokens"),
        ({"n": 2}, "unknown_parameter", "n"),
    ],
)
def test_a_battle_that_cannot_be_is_refused(
    http: TestClient, body: dict[str, Any], code: str, param: str | None
) -> None:
    response = http.post("/v1/arena/battles", json={**ASK, **body})

    assert response.status_code in (400, 404)
    assert (error_of(response)["code"], error_of(response)["param"]) == (code, param)


@pytest.mark.parametrize("path", ["/v1/arena/battles/battle-0", "/v1/arena/votes", "/v1/arena/ratings"])
def test_a_battle_that_is_not_there_is_not_found(http: TestClient, path: str) -> None:
    bodies = {
        "/v1/arena/votes": {"battle": "battle-0", "winner": "a"},
        "/v1/arena/ratings": {"battle": "battle-0", "side": "a", "score": 3},
    }
    response = http.post(path, json=bodies[path]) if path in bodies else http.get(path)

    assert (response.status_code, error_of(response)["code"]) == (404, "battle_not_found")


def test_a_rating_names_no_model_before_the_vote(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])
    body = {"battle": made["id"], "side": "a", "score": 4, "comment": "good", "voter": "ann"}

    before = http.post("/v1/arena/ratings", json=body).json()
    vote = http.post("/v1/arena/votes", json={"battle": made["id"], "winner": "a", "voter": "ann"}).json()
    after = http.post("/v1/arena/ratings", json={**body, "score": 5}).json()

    assert (before["score"], before["model"], before["text"]) == (4, None, made["a"]["text"])
    assert (after["score"], after["model"]) == (5, vote["models"]["a"])
    listed = http.get("/v1/arena/ratings").json()["data"]
    assert [each["score"] for each in listed if each["battle"] == made["id"]] == [5]


def test_an_answer_given_elsewhere_can_be_rated(http: TestClient) -> None:
    body = {"prompt": "Say hello.", "model": "a", "answer": "hello", "score": 2, "voter": "ann"}

    rated = http.post("/v1/arena/ratings", json=body).json()

    assert (rated["model"], rated["text"], rated["battle"]) == ("a:1", "hello", None)


@pytest.mark.parametrize(
    "body",
    [
        {"score": 3},
        {"score": 3, "prompt": "x"},
        {"score": 3, "prompt": "x", "answer": "y", "side": "a"},
        {"score": 3, "battle": "battle-0"},
        {"score": 3, "battle": "battle-0", "side": "a", "answer": "y"},
        {"score": 0, "prompt": "x", "answer": "y"},
        {"score": 6, "prompt": "x", "answer": "y"},
        {"score": 3, "prompt": "x", "answer": "y", "voter": "line\nbreak"},
    ],
)
def test_a_rating_of_nothing_is_refused(http: TestClient, body: dict[str, Any]) -> None:
    response = http.post("/v1/arena/ratings", json=body)

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_value")


def test_the_leaderboard_ranks_and_the_export_trains(
    run_server: RunServer, archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model ends no answer by itself, and a preferred one that was cut off makes no pair.
    answered = battles._answer
    monkeypatch.setattr(battles, "_answer", lambda *given: replace(answered(*given), finish_reason="stop"))
    with run_server() as server:
        http = server.client
        assert upload(http, "a", archives["a"]).status_code == 201
        assert http.get("/v1/arena/leaderboard").json()["data"] == []
        for turn in range(12):
            made = battle(http, models=[None, "a"], prompt=f"Say {turn}.")
            one = made["a"]["text"]
            # Blind: what the adapter says is known here from asking it openly.
            said = http.post("/generate", json={**ASK, "prompt": f"Say {turn}.", "adapter": "a"}).json()
            winner = "a" if said["outputs"][0]["text"] == one else "b"
            winner = winner if turn % 6 else "tie"
            http.post("/v1/arena/votes", json={"battle": made["id"], "winner": winner})

        board = http.get("/v1/arena/leaderboard").json()
        export = http.get("/v1/arena/export")

    first, second = board["data"]
    assert (first["model"], first["wins"], first["ties"], first["losses"]) == ("a:1", 10, 2, 0)
    assert (second["model"], second["losses"]) == (BASE, 10)
    assert first["bradley_terry"]["low"] > second["bradley_terry"]["high"]
    assert (first["rank"], second["rank"]) == (1, 2)
    assert board["comparable"]
    path = tmp_path / "pairs.jsonl"
    path.write_text(export.text)
    records = load(path).records
    assert len(records) == 10
    assert all(record.rejected is not None for record in records)


def test_a_tenant_has_an_arena_of_its_own(run_server: RunServer, archives: dict[str, bytes]) -> None:
    with run_server(api_keys="acme=k1,other=k2,acme:infer=k3") as server:
        http, key = server.client, {"Authorization": "Bearer k1"}
        assert upload(http, "a", archives["a"], **key).status_code == 201
        made = http.post("/v1/arena/battles", json=ASK, headers=key).json()
        http.post("/v1/arena/votes", json={"battle": made["id"], "winner": "a"}, headers=key)

        stranger, reader = {"Authorization": "Bearer k2"}, {"Authorization": "Bearer k3"}

        assert http.get(f"/v1/arena/battles/{made['id']}", headers=stranger).status_code == 404
        assert http.get("/v1/arena/leaderboard", headers=stranger).json()["num_votes"] == 0
        assert http.get("/v1/arena/leaderboard", headers=reader).json()["num_votes"] == 1
        for path in ("votes", "ratings", "export"):
            response = http.get(f"/v1/arena/{path}", headers=reader)
            assert (response.status_code, error_of(response)["code"]) == (403, "insufficient_scope")
        alone = http.post("/v1/arena/battles", json=ASK, headers=stranger)
        assert error_of(alone)["code"] == "too_few_models"


def test_a_deleted_battle_is_gone(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])

    assert http.delete(f"/v1/arena/battles/{made['id']}").json()["deleted"] is True
    assert http.get(f"/v1/arena/battles/{made['id']}").status_code == 404


def test_an_answer_becomes_a_case_of_a_suite(http: TestClient) -> None:
    made = battle(http, models=[None, "a"])
    saved = http.post("/v1/arena/cases", json={"suite": "mine", "battle": made["id"], "side": "b", "tags": ["x"]})
    more = {"suite": "mine", "prompt": "And now?", "completion": "Goodbye.", "fields": {"label": "end"}}
    again = http.post("/v1/arena/cases", json=more)

    assert saved.status_code == 201, saved.text
    assert (saved.json()["num_cases"], again.json()["num_cases"]) == (1, 2)
    assert saved.json()["digest"] != again.json()["digest"]
    cases = http.get("/suites/mine").json()["content"]["cases"]
    assert cases == [
        {"messages": made["messages"], "completion": made["b"]["text"], "tags": ["x"]},
        {
            "messages": [{"role": "user", "content": "And now?"}],
            "completion": "Goodbye.",
            "fields": {"label": "end"},
        },
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"suite": "mine", "prompt": "x"},
        {"suite": "mine", "battle": "battle-0"},
        {"suite": "mine", "battle": "battle-0", "side": "a", "prompt": "x"},
        {"suite": "../mine", "prompt": "x", "completion": "y"},
        {"suite": "mine", "prompt": "x", "completion": ""},
    ],
)
def test_a_case_of_nothing_is_refused(http: TestClient, body: dict[str, Any]) -> None:
    response = http.post("/v1/arena/cases", json=body)

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_value")
