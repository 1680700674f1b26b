"""Evaluations and gates whose scores come from a judge over HTTP, which a test can kill."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from tests.evaluation.judging.conftest import StartServer, start_server
from tests.service.api.conftest import Running, RunServer, error_of, upload

__all__ = ["start_server"]

CASES = [{"prompt": f"say hello {number}", "completion": "hello"} for number in range(3)]
SUITE = {"name": "judged", "scorers": ["judge"], "cases": CASES, "generation": {"max_tokens": 8}}


@pytest.fixture
def judge(start_server: StartServer) -> Any:
    return start_server()


@pytest.fixture
def server(run_server: RunServer, archives: dict[str, bytes], judge: Any) -> Iterator[Running]:
    settings = {"judge_url": judge.url, "judge_model": "long", "judge_api_key": SecretStr("secret")}
    with run_server(**settings) as running:
        upload(running.client, "a", archives["a"])
        yield running


def ended(server: Running, path: str, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while not is_over(found := server.client.get(path).json()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return dict(found)


def test_a_run_whose_judge_dies_is_partial_and_goes_on_when_it_is_back(
    server: Running,
    judge: Any,
    start_server: StartServer,
) -> None:
    body = {"models": ["a"], "cases": CASES, "metrics": ["judge", "exact_match"], "max_tokens": 8}
    whole = server.client.post("/evaluate", json=body).json()
    assert whole["status"] == "completed", whole
    judged = whole["results"][0]["metrics"]["judge"]

    judge.kill()
    partial = server.client.post("/evaluate", json=body).json()
    assert partial["status"] == "partial"
    assert "the judge 'long' cannot be asked" in partial["error"]
    assert judge.url not in str(partial)
    texts = [case["text"] for case in partial["results"][0]["cases"]]
    assert texts == [case["text"] for case in whole["results"][0]["cases"]]

    start_server(port=urlsplit(judge.url).port)
    server.client.post(f"/evaluations/{partial['id']}/resume")
    again = ended(server, f"/evaluations/{partial['id']}", lambda run: run["finished_at"] is not None)
    assert again["status"] == "completed"
    assert again["results"][0]["metrics"]["judge"] == judged


def test_a_gate_whose_judge_is_down_leaves_the_alias_where_it_is(server: Running, judge: Any) -> None:
    assert server.client.post("/suites", json=SUITE).status_code == 200
    gate = "/v1/adapters/a/gates/prod"
    body = {"policy": "promote if judge >= 0", "suites": ["judged"]}
    assert server.client.put(gate, json=body).status_code == 200
    judge.kill()
    check = server.client.post(f"{gate}/run", json={}).json()
    check = ended(server, f"{gate}/checks/{check['id']}", lambda found: found["finished_at"] is not None)
    assert check["status"] == "failed"
    assert "the judge 'long' cannot be asked" in check["reason"]
    assert server.client.get("/v1/adapters/a").json()["aliases"] == {}


def test_without_an_operators_judge_only_a_model_can_judge(run_server: RunServer) -> None:
    with run_server() as server:
        body = {"models": [None], "cases": CASES[:1], "metrics": ["judge"], "max_tokens": 8}
        refused = server.client.post("/evaluate", json=body)
        assert error_of(refused)["code"] == "judge_unavailable"
        assert "LORAD_JUDGE_URL" in error_of(refused)["message"]
        # The tiny base has no room for what a judge is asked: no score, and nothing else is lost.
        own = server.client.post("/evaluate", json={**body, "judge": "tiny"}).json()
        assert own.get("status") == "partial", own
        assert "the judge 'tiny' cannot be asked: what it is asked has" in own["error"]


def test_a_judge_chooses_between_the_answers_of_two_evaluations(server: Running, judge: Any) -> None:
    """The operator's prefers the longer answer, whatever its place."""
    lengths = {"first": 4, "second": 12}
    runs = {
        name: server.client.post(
            "/evaluate", json={"models": ["a"], "cases": CASES, "metrics": ["exact_match"], "max_tokens": length}
        ).json()
        for name, length in lengths.items()
    }
    texts = {name: [len(case["text"]) for case in run["results"][0]["cases"]] for name, run in runs.items()}
    longer = sum(new > old for old, new in zip(texts["first"], texts["second"], strict=True))
    path, body = f"/evaluations/{runs['second']['id']}/judge", {"with": runs["first"]["id"]}
    [found] = server.client.post(path, json=body).json()["data"]
    assert (found["judge"], found["num_cases"], found["after_wins"]) == ("long", 3, longer)
    assert longer == 3
    assert (found["agreement"], found["win_rate"], found["verdict"]) == (1.0, 1.0, "noise")
    assert found["p_value"] == pytest.approx(0.25)
    assert [case["winner"] for case in found["cases"]] == ["after"] * 3
    [one] = server.client.post(path, json={**body, "max_cases": 1}).json()["data"]
    assert one["num_cases"] == 1

    scored = server.client.post("/evaluate", json={"models": ["a"], "cases": CASES, "metrics": ["loss"]}).json()
    nothing = server.client.post(f"/evaluations/{scored['id']}/judge", json={"with": scored["id"]})
    assert error_of(nothing)["code"] == "invalid_comparison"
    judge.kill()
    assert error_of(server.client.post(path, json=body))["code"] == "judge_unavailable"


def test_both_models_of_one_evaluation_are_judged(server: Running) -> None:
    run = server.client.post(
        "/evaluate", json={"models": [None, "a"], "cases": CASES, "metrics": ["exact_match"], "max_tokens": 6}
    ).json()
    [found] = server.client.post(f"/evaluations/{run['id']}/judge", json={"with": run["id"]}).json()["data"]
    assert (found["before"]["model"], found["after"]["model"]) == ("tiny", "a:1")
    unknown = server.client.post(f"/evaluations/{run['id']}/judge", json={"with": run["id"], "judge": "nobody"})
    assert error_of(unknown)["code"] == "model_not_found"
