import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.api.conftest import Running, RunServer, error_of, upload, wait_until

CASES = [{"prompt": f"ticket {n}", "completion": f"refund {n}"} for n in range(4)]


@pytest.fixture(scope="module")
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    with run_server() as server:
        for name in ("a", "b"):
            assert upload(server.client, name, archives[name]).status_code == 201
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


def post(client: TestClient, **body: Any) -> Any:
    asked = {"models": [None, "a:1"], "cases": CASES, "metrics": ["loss", "exact_match"], "max_tokens": 3, **body}
    return client.post("/evaluate", json=asked)


def evaluated(client: TestClient, **body: Any) -> dict[str, Any]:
    response = post(client, **body)
    assert response.status_code == 200, response.text
    run: dict[str, Any] = response.json()
    return run


def ended(client: TestClient, run_id: str) -> dict[str, Any]:
    wait_until(lambda: client.get(f"/evaluations/{run_id}").json()["status"] not in ("queued", "running"))
    run: dict[str, Any] = client.get(f"/evaluations/{run_id}").json()
    return run


def without_times(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What does not depend on how fast the machine is."""
    return [{key: result[key] for key in result if key not in ("cases", "tokens_per_second")} for result in results]


def test_a_background_run_finds_what_a_short_one_finds(client: TestClient) -> None:
    waited = evaluated(client, background=False)
    response = post(client, background=True)
    assert response.status_code == 202
    queued = response.json()
    assert (queued["status"], queued["results"]) == ("queued", None)
    run = ended(client, queued["id"])
    assert run["status"] == "completed"
    assert run["progress"] == {"done": 8, "total": 8}
    assert without_times(run["results"]) == without_times(waited["results"])
    assert run["suite"]["digest"] == waited["suite"]["digest"]


def test_models_are_pinned_when_the_run_is_made(client: TestClient) -> None:
    client.put("/v1/adapters/a/aliases/eval", json={"version": 1})
    run = evaluated(client, models=[None, "a@eval"])
    assert [(model["asked"], model["model"]) for model in run["models"]] == [(None, "tiny"), ("a@eval", "a:1")]
    assert run["models"][1]["digest"] == client.get("/v1/adapters/a/versions/1").json()["digest"]


def test_a_run_is_listed_shown_and_deleted(client: TestClient) -> None:
    run = evaluated(client)
    listed = client.get("/evaluations", params={"limit": 1}).json()
    assert [each["id"] for each in listed["data"]] == [run["id"]]
    assert listed["has_more"]
    shown = client.get(f"/evaluations/{run['id']}").json()
    assert shown == listed["data"][0]
    assert without_times(shown["results"]) == without_times(run["results"])
    assert [result["cases"] for result in shown["results"]] == [[], []]
    assert client.delete(f"/evaluations/{run['id']}").json()["deleted"]
    assert client.get(f"/evaluations/{run['id']}").status_code == 404


def test_cases_come_with_what_was_asked_and_answered(client: TestClient) -> None:
    run = evaluated(client)
    cases = client.get(f"/evaluations/{run['id']}/cases", params={"model": 1, "limit": 3}).json()
    assert cases["has_more"]
    assert [case["answer"] for case in cases["data"]] == run["results"][1]["cases"][:3]
    assert cases["data"][2]["case"]["completion"] == "refund 2"
    assert {case["model"] for case in cases["data"]} == {"a:1"}
    rest = client.get(f"/evaluations/{run['id']}/cases", params={"model": 1, "after": 2}).json()
    assert [case["index"] for case in rest["data"]] == [3]
    beyond = client.get(f"/evaluations/{run['id']}/cases", params={"model": 2})
    assert error_of(beyond)["code"] == "evaluation_not_found"


def test_events_are_listed_and_streamed(client: TestClient) -> None:
    run_id = post(client, background=True).json()["id"]
    stream = client.get(f"/evaluations/{run_id}/events", params={"stream": "true"})
    told = [json.loads(line.removeprefix("data: ")) for line in stream.text.splitlines() if line.startswith("data: ")]
    listed = client.get(f"/evaluations/{run_id}/events", params={"limit": 100}).json()["data"]
    assert told == listed[::-1]
    assert told[-1]["message"] == "The evaluation is completed"
    assert [event["data"] for event in told if event["data"]][-1] == {"done": 8, "total": 8}
    last = {"Last-Event-ID": told[-1]["id"], "Accept": "text/event-stream"}
    assert client.get(f"/evaluations/{run_id}/events", headers=last).status_code == 204
    older = client.get(f"/evaluations/{run_id}/events", params={"after": told[1]["id"]}).json()
    assert [event["id"] for event in older["data"]] == [told[0]["id"]]


def test_a_run_is_cancelled_while_it_runs_and_goes_on_when_resumed(server: Running) -> None:
    client, gate = server.client, server.gate
    expected = evaluated(client)
    gate.opened.clear()
    try:
        run_id = post(client, background=True).json()["id"]
        wait_until(lambda: client.get(f"/evaluations/{run_id}").json()["status"] == "running")
        assert client.post(f"/evaluations/{run_id}/cancel").json()["status"] == "cancelled"
        assert error_of(client.get(f"/evaluations/{run_id}/compare", params={"with": run_id}))["code"] == (
            "invalid_evaluation_state"
        )
    finally:
        gate.opened.set()
    assert client.post(f"/evaluations/{run_id}/resume").json()["status"] == "queued"
    run = ended(client, run_id)
    assert run["status"] == "completed"
    assert without_times(run["results"]) == without_times(expected["results"])


def test_a_completed_run_is_not_cancelled(client: TestClient) -> None:
    run = evaluated(client)
    assert error_of(client.post(f"/evaluations/{run['id']}/cancel"))["code"] == "invalid_evaluation_state"


def test_a_run_compared_with_itself_says_noise(client: TestClient) -> None:
    first, second = evaluated(client), evaluated(client)
    found = client.get(f"/evaluations/{second['id']}/compare", params={"with": first["id"]}).json()["data"]
    assert [(each["before"]["model"], each["after"]["model"]) for each in found] == [("tiny", "tiny"), ("a:1", "a:1")]
    for difference in found[0]["differences"]:
        assert (difference["delta"], difference["verdict"], difference["num_cases"]) == (0, "noise", 4)


def test_the_models_of_one_run_are_compared_with_its_first(client: TestClient) -> None:
    run = evaluated(client, models=[None, "a:1", "b:1"])
    path = f"/evaluations/{run['id']}/compare"
    found = client.get(path, params={"with": run["id"]}).json()["data"]
    assert [(each["before"]["model"], each["after"]["model"]) for each in found] == [("tiny", "a:1"), ("tiny", "b:1")]
    metrics = {each["metric"]: each for each in found[0]["differences"]}
    assert metrics["loss"]["before"] == pytest.approx(run["results"][0]["metrics"]["loss"])
    assert metrics["loss"]["after"] == pytest.approx(run["results"][1]["metrics"]["loss"])
    one = client.get(path, params={"with": run["id"], "with_model": "b:1", "model": "a:1"}).json()["data"]
    assert [(each["before"]["model"], each["after"]["model"]) for each in one] == [("b:1", "a:1")]
    wrong = error_of(client.get(path, params={"with": run["id"], "model": "nobody"}))
    assert (wrong["code"], "tiny, a:1, b:1" in wrong["message"]) == ("invalid_comparison", True)


def test_runs_of_other_cases_are_not_compared(client: TestClient) -> None:
    first, second = evaluated(client), evaluated(client, cases=CASES[:2])
    refused = client.get(f"/evaluations/{second['id']}/compare", params={"with": first["id"]})
    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_comparison")
    assert "only runs of the same cases" in error_of(refused)["message"]


def test_runs_whose_scorers_had_other_parameters_are_not_compared(client: TestClient) -> None:
    first, second = (
        evaluated(client, metrics=["loss", {"name": "regex", "params": {"pattern": pattern}}]) for pattern in ("a", "b")
    )
    refused = error_of(client.get(f"/evaluations/{second['id']}/compare", params={"with": first["id"]}))
    assert refused["code"] == "invalid_comparison"
    assert "scored regex with other parameters: pattern='a' and pattern='b'" in refused["message"]


def test_a_case_that_is_too_long_is_named_before_anything_runs(client: TestClient) -> None:
    long = [*CASES, {"prompt": "x " * 600, "completion": "y"}]
    for background in (True, False):
        refused = post(client, cases=long, background=background)
        assert (refused.status_code, error_of(refused)["code"]) == (400, "context_length_exceeded")
        assert "case 4 needs" in error_of(refused)["message"]


def test_a_run_whose_version_is_gone_fails_and_says_so(server: Running, archives: dict[str, bytes]) -> None:
    client = server.client
    assert upload(client, "gone", archives["b"]).status_code == 201
    server.gate.opened.clear()
    try:
        blocking = [post(client, background=True).json()["id"] for _ in range(2)]
        wait_until(lambda: client.get(f"/evaluations/{blocking[1]}").json()["status"] == "running")
        run_id = post(client, models=["gone"], background=True).json()["id"]
        assert client.delete("/v1/adapters/gone").status_code == 200
    finally:
        server.gate.opened.set()
    run = ended(client, run_id)
    assert run["status"] == "failed"
    assert "gone" in run["error"]
    assert [ended(client, each)["status"] for each in blocking] == ["completed", "completed"]


def test_a_refused_request_leaves_no_run(client: TestClient) -> None:
    before = client.get("/evaluations", params={"limit": 100}).json()["data"]
    assert post(client, cases=[{"prompt": "x " * 600, "completion": "y"}]).status_code == 400
    assert post(client, models=["nobody"]).status_code == 404
    assert client.get("/evaluations", params={"limit": 100}).json()["data"] == before


def test_lineage_shows_a_versions_evaluations(client: TestClient) -> None:
    run = evaluated(client)
    lineage = client.get("/v1/adapters/a/versions/1/lineage").json()
    newest = lineage["evaluations"][0]
    assert (newest["evaluation"], newest["suite"]) == (run["id"], None)
    assert newest["metrics"] == run["results"][1]["metrics"]
    assert client.get("/v1/adapters/b/versions/1/lineage").json()["evaluations"] != lineage["evaluations"]


def test_runs_are_their_tenants(run_server: RunServer) -> None:
    with run_server(api_keys="one=k1,two=k2,one:infer=k3") as server:
        client = server.client
        run = client.post(
            "/evaluate", json={"models": [None], "cases": CASES[:1], "metrics": ["loss"]}, headers=bearer("k1")
        ).json()
        for path in ("", "/events", "/cases"):
            response = client.get(f"/evaluations/{run['id']}{path}", headers=bearer("k2"))
            assert (response.status_code, error_of(response)["code"]) == (404, "evaluation_not_found")
        assert client.get("/evaluations", headers=bearer("k2")).json()["data"] == []
        assert client.get(f"/evaluations/{run['id']}", headers=bearer("k3")).status_code == 200
        assert client.delete(f"/evaluations/{run['id']}", headers=bearer("k3")).status_code == 403


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
