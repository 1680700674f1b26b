import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.api.conftest import Running, RunServer, error_of

SUITE: dict[str, Any] = {
    "name": "tickets",
    "description": "What a ticket is about.",
    "scorers": ["exact_match"],
    "tags": ["support"],
    "thresholds": {"exact_match": 0.5},
    "cases": [{"prompt": "hello", "completion": "hi"}, {"prompt": "refund", "completion": "no"}],
}
YAML = """
name: tickets
description: What a ticket is about.
scorers: [exact_match]
tags: [support]
thresholds: {exact_match: 0.5}
"""


@pytest.fixture(scope="module")
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server() as server:
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


def add(client: TestClient, **changes: Any) -> dict[str, Any]:
    response = client.post("/suites", json={**SUITE, **changes})
    assert response.status_code == 200, response.text
    added: dict[str, Any] = response.json()
    return added


def test_the_same_suite_has_one_digest_however_it_comes(client: TestClient) -> None:
    added = add(client)
    lines = "\n".join(json.dumps(case) for case in SUITE["cases"])
    as_yaml = client.post(
        "/suites", content=YAML + f"cases: {json.dumps(SUITE['cases'])}\n", headers={"Content-Type": "application/yaml"}
    ).json()
    files = {"suite": ("s.yaml", YAML + "cases: c.jsonl\n"), "cases": ("c.jsonl", lines)}
    as_form = client.post("/suites", files=files).json()
    assert added["digest"] == as_yaml["digest"] == as_form["digest"]
    assert added["num_cases"] == 2
    assert added["id"] == f"tickets@{added['digest']}"


def test_the_newest_version_is_what_the_name_means(client: TestClient) -> None:
    first = add(client, name="versions")
    second = add(client, name="versions", cases=SUITE["cases"][:1])
    assert first["digest"] != second["digest"]
    assert client.get("/suites/versions").json()["digest"] == second["digest"]
    old = client.get("/suites/versions", params={"digest": first["digest"][:19]}).json()
    assert [case["prompt"] for case in old["content"]["cases"]] == ["hello", "refund"]
    listed = client.get("/suites", params={"name": "versions"}).json()["data"]
    assert [each["digest"] for each in listed] == [second["digest"], first["digest"]]
    add(client, name="versions")
    assert client.get("/suites/versions").json()["digest"] == first["digest"]
    assert [each["digest"] for each in client.get("/suites").json()["data"] if each["name"] == "versions"] == [
        first["digest"]
    ]


def test_a_shown_suite_can_be_added_again(client: TestClient) -> None:
    added = add(client, name="again")
    shown = client.get("/suites/again").json()
    assert add(client, **shown["content"])["digest"] == added["digest"]


def test_an_evaluation_runs_on_a_suite_and_keeps_it_when_it_is_deleted(client: TestClient) -> None:
    added = add(client, name="kept")
    run = client.post("/evaluate", json={"models": [None], "suite": "kept", "max_tokens": 2}).json()
    assert run["suite"] == {"name": "kept", "digest": added["digest"], "num_cases": 2}
    assert set(run["results"][0]["metrics"]) == {"exact_match"}
    assert client.delete("/suites/kept").json()["deleted"] == [added["digest"]]
    assert error_of(client.get("/suites/kept"))["code"] == "suite_not_found"
    cases = client.get(f"/evaluations/{run['id']}/cases").json()["data"]
    assert [case["case"]["prompt"] for case in cases] == ["hello", "refund"]


def test_one_version_is_deleted_and_the_others_stay(client: TestClient) -> None:
    first = add(client, name="two")
    second = add(client, name="two", cases=SUITE["cases"][:1])
    gone = client.delete("/suites/two", params={"digest": second["digest"]}).json()
    assert gone["deleted"] == [second["digest"]]
    assert client.get("/suites/two").json()["digest"] == first["digest"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cases": []}, "case"),
        ({"cases": [{"completion": "x"}]}, "case"),
        ({"scorers": ["no_such_scorer"]}, "no_such_scorer"),
        ({"scorers": [{"name": "regex"}]}, "pattern"),
    ],
)
def test_a_suite_that_cannot_be_run_is_refused(client: TestClient, changes: dict[str, Any], said: str) -> None:
    response = client.post("/suites", json={**SUITE, **changes})
    assert response.status_code == 400, response.text
    assert said in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.jsonl", "missing.jsonl"])
def test_a_suite_reads_no_file_of_the_server(client: TestClient, path: str) -> None:
    files = {"suite": ("s.yaml", YAML + f"cases: {path}\n"), "cases": ("c.jsonl", '{"prompt": "a", "completion": "b"}')}
    response = client.post("/suites", files=files)
    assert response.status_code == 400, response.text
    assert "root:" not in response.text
    assert "/tmp" not in response.text


def test_a_form_without_a_suite_is_told_what_to_send(client: TestClient) -> None:
    refused = error_of(client.post("/suites", files={"cases": ("c.jsonl", "{}")}))
    assert (refused["code"], refused["param"]) == ("missing_parameter", "suite")
    assert error_of(client.post("/suites", files={"other": ("c.jsonl", "{}")}))["code"] == "unknown_parameter"


@pytest.mark.parametrize("reference", ["nothing", "tickets@sha256:00000000", "a b", "@"])
def test_an_unknown_suite_is_told(client: TestClient, reference: str) -> None:
    response = client.post("/evaluate", json={"models": [None], "suite": reference})
    assert (response.status_code, error_of(response)["code"]) == (404, "suite_not_found")


def test_suites_are_added_with_the_right_to_train(run_server: RunServer) -> None:
    with run_server(api_keys="one=k1,one:infer=k2,two=k3") as server:
        client = server.client
        assert client.post("/suites", json=SUITE, headers={"Authorization": "Bearer k2"}).status_code == 403
        assert client.post("/suites", json=SUITE, headers={"Authorization": "Bearer k1"}).status_code == 200
        assert client.get("/suites/tickets", headers={"Authorization": "Bearer k2"}).status_code == 200
        assert client.get("/suites/tickets", headers={"Authorization": "Bearer k3"}).status_code == 404


def test_a_suite_has_as_many_cases_as_may_be(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.uploads.cases.MAX_CASES", 1)
    add(client, name="small", cases=SUITE["cases"][:1])
    for path, body in (("/suites", SUITE), ("/evaluate", {"models": [None], "suite": SUITE})):
        refused = client.post(path, json=body)
        assert refused.status_code == 400
        assert error_of(refused)["message"].startswith("there are 2 cases, and the limit is 1; send them")


def test_a_suite_in_a_request_is_looked_at_as_one_that_is_added(client: TestClient) -> None:
    suite = {**SUITE, "cases": [{"messages": [{"role": "robot", "content": "a"}], "completion": "b"}]}
    refused = client.post("/evaluate", json={"models": [None], "suite": suite})
    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_suite")
