import time
from collections.abc import Iterator
from typing import Any

import pytest

from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite, SuiteCase
from service.registry.opening import open_registry
from tests.service.api.conftest import Running, RunServer, error_of, upload

LOSS = "promote to prod if loss <= prod"
SUITE = Suite(
    name="greetings",
    scorers=(ScorerSpec("loss"), ScorerSpec("exact_match")),
    cases=tuple(SuiteCase(prompt=f"say hello {n}", completion=f"hello there {n}") for n in range(3)),
    generation=GenerationSettings(max_tokens=4),
)


@pytest.fixture(scope="module")
def server(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    """With adapter `a` in two versions that answer differently, and a suite."""
    with run_server() as running:
        for archive in ("a", "b"):
            upload(running.client, "a", archives[archive])
        registry = open_registry(running.settings)
        Suites(registry.database).add("default", SUITE)
        registry.database.dispose()
        yield running


def put(server: Running, policy: Any, alias: str = "prod", suites: tuple[str, ...] = ("greetings",)) -> Any:
    return server.client.put(f"/v1/adapters/a/gates/{alias}", json={"policy": policy, "suites": list(suites)})


def run(server: Running, number: int, alias: str = "prod") -> dict[str, Any]:
    """The check, once it has ended."""
    asked = server.client.post(f"/v1/adapters/a/gates/{alias}/run", json={"version": number})
    assert asked.status_code == 202, asked.text
    check: dict[str, Any] = asked.json()
    deadline = time.monotonic() + 60
    while check["finished_at"] is None:
        assert time.monotonic() < deadline, check
        time.sleep(0.05)
        check = server.client.get(f"/v1/adapters/a/gates/{alias}/checks/{check['id']}").json()
    return check


def test_a_gate_lets_the_better_version_through_and_not_the_worse(server: Running) -> None:
    assert put(server, LOSS.replace("prod", "live"), "live").status_code == 200
    measured = server.client.post(
        "/evaluate",
        json={"models": ["a:1", "a:2"], "cases": [case.to_json() for case in SUITE.cases], "metrics": ["loss"]},
    )
    losses = [result["metrics"]["loss"] for result in measured.json()["results"]]
    better, worse = (1, 2) if losses[0] < losses[1] else (2, 1)
    server.client.put("/v1/adapters/a/aliases/live", json={"version": worse})

    check = run(server, better, "live")
    assert (check["status"], check["candidate"], check["before"]) == ("promoted", f"a:{better}", f"a:{worse}")
    assert check["findings"][0]["candidate"] == pytest.approx(min(losses))
    assert server.client.get("/v1/adapters/a").json()["aliases"]["live"] == better

    check = run(server, worse, "live")
    assert (check["status"], check["before"]) == ("refused", f"a:{better}")
    assert server.client.get("/v1/adapters/a").json()["aliases"]["live"] == better

    refused, promoted = server.client.get("/v1/adapters/a/history").json()["data"][:2]
    assert (refused["kind"], promoted["kind"], promoted["actor"]) == ("refuse", "set", "gate")
    assert refused["reason"] == check["reason"]
    assert refused["details"]["evaluations"] == check["evaluations"]

    back = server.client.post("/v1/adapters/a/rollback", json={"alias": "live"})
    assert back.json()["number"] == worse, back.text


def test_a_gate_is_set_shown_listed_and_taken_away(server: Running) -> None:
    made = put(server, f"{LOSS} on greetings and no suite drops > 1 point", suites=())
    assert made.status_code == 200, made.text
    assert made.json()["policy"] == f"{LOSS} on greetings and no suite drops > 1 point"
    assert made.json()["suites"] == ["greetings"]
    assert (
        put(server, made.json()["definition"]).json()["policy"]
        == LOSS.replace("prod if", "prod on greetings if") + " on greetings and no suite drops > 1 point"
    )
    listed = server.client.get("/v1/adapters/a/gates").json()["data"]
    assert "prod" in [gate["alias"] for gate in listed]
    assert server.client.delete("/v1/adapters/a/gates/prod").json() == {
        "id": "a@prod", "object": "gate", "deleted": True,
    }  # fmt: skip
    gone = server.client.get("/v1/adapters/a/gates/prod")
    assert (gone.status_code, error_of(gone)["code"]) == (404, "gate_not_found")


@pytest.mark.parametrize(
    ("policy", "suites", "status", "said"),
    [
        ("promote to prod if exact_mach >= prod", ("greetings",), 400, "Unknown metric 'exact_mach'"),
        ("promote to prod if loss >= prod", ("greetings",), 400, "better when lower: write < or <="),
        ("promote to canary if loss <= canary", ("greetings",), 400, "it is a gate of 'prod'"),
        (
            "promote to prod if f1 >= prod",
            ("greetings",),
            400,
            "no scorer of the suites greetings gives f1; they give loss",
        ),
        (LOSS, (), 400, "names no suite to run"),
        (LOSS, ("nobody",), 404, "no suite 'nobody'"),
        ({"conditions": [{"kind": "better"}]}, ("greetings",), 400, "policy.conditions.0"),
        (7, ("greetings",), 400, ""),
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    server: Running, policy: Any, suites: tuple[str, ...], status: int, said: str
) -> None:
    refused = put(server, policy, suites=suites)
    assert refused.status_code == status, refused.text
    assert said in error_of(refused)["message"]


def test_who_cannot_come_before_a_gate_is_told_so(server: Running) -> None:
    assert put(server, LOSS.replace("prod", "other"), "other").status_code == 200
    missing = server.client.post("/v1/adapters/a/gates/other/run", json={"version": 99})
    assert (missing.status_code, error_of(missing)["code"]) == (404, "model_not_found")
    nothing = server.client.post("/v1/adapters/a/gates/nowhere/run", json={})
    assert (nothing.status_code, error_of(nothing)["code"]) == (404, "gate_not_found")
    unknown = server.client.get("/v1/adapters/a/gates/other/checks/gate-0")
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "gate_not_found")


def test_a_job_names_a_gate_that_exists(server: Running) -> None:
    sent = server.client.post(
        "/v1/files",
        data={"purpose": "fine-tune"},
        files={"file": ("rows.jsonl", b'{"prompt": "a", "completion": "b"}\n')},
    ).json()
    body = {"model": "tiny", "training_file": sent["id"], "suffix": "a", "gate": "nowhere"}
    refused = server.client.post("/v1/fine_tuning/jobs", json=body)
    assert (refused.status_code, error_of(refused)["param"]) == (404, "gate")
    assert put(server, LOSS.replace("prod", "after"), "after").status_code == 200
    made = server.client.post("/v1/fine_tuning/jobs", json={**body, "gate": "after"})
    assert made.status_code == 200, made.text
    assert made.json()["gate"] == "after"
