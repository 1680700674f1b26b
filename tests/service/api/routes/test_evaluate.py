import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from evaluation.sampler import Completion, GenerateRequest
from service.api.process.lifespan import MAX_EVALUATIONS
from service.engine.sampler import EngineSampler
from tests.service.api.conftest import AsgiCall, Running, RunServer, error_of, wait_until

CASES = [{"prompt": "hello", "completion": "hello there"}, {"prompt": "the ticket", "completion": "a refund"}]


def evaluate(server: Running, **body: Any) -> Any:
    return server.client.post("/evaluate", json={"models": [None, "a:1"], "max_tokens": 4, **body})


def test_models_are_measured_in_their_order(shared: Running) -> None:
    answer = evaluate(shared, cases=CASES).json()
    base, adapter = answer["results"]
    assert answer["status"] == "completed"
    assert (base["model"], adapter["model"]) == ("tiny", "a:1")
    assert set(base["metrics"]) == {"loss", "perplexity", "token_accuracy", "exact_match", "rouge_l"}
    assert base["metrics"]["loss"] != adapter["metrics"]["loss"]
    assert [case["index"] for case in base["cases"]] == [0, 1]


def test_a_case_may_be_a_conversation(shared: Running) -> None:
    messages = [{"role": "user", "content": "hello"}]
    as_messages = evaluate(shared, cases=[{"messages": messages, "completion": "hi"}], metrics=["loss"]).json()
    as_prompt = evaluate(shared, cases=[{"prompt": "hello", "completion": "hi"}], metrics=["loss"]).json()
    assert as_messages["results"] == as_prompt["results"]


def test_a_data_set_is_the_tenants_file(shared: Running) -> None:
    folder = shared.settings.datasets / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tickets.jsonl").write_text("\n".join(json.dumps(case) for case in CASES))
    inline = evaluate(shared, cases=CASES, metrics=["loss"]).json()["results"]
    assert evaluate(shared, dataset="tickets", metrics=["loss"]).json()["results"] == inline
    assert evaluate(shared, dataset="tickets.jsonl", metrics=["loss"]).json()["results"] == inline


def test_a_broken_data_set_is_told_without_the_servers_paths(shared: Running) -> None:
    folder = shared.settings.datasets / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.jsonl").write_text("{\n")
    response = evaluate(shared, dataset="broken")
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_data")
    assert str(shared.settings.home) not in response.text


@pytest.mark.parametrize("name", ["nothing", "..", "../default/tickets", "/etc/passwd", "a/b", ".hidden"])
def test_only_plain_names_reach_the_disk(shared: Running, name: str) -> None:
    assert evaluate(shared, dataset=name).status_code in (400, 404)


def test_a_value_that_is_not_finite_is_null(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.summary._metrics", lambda *_: {"rouge_l": float("nan")})
    answer = evaluate(shared, cases=CASES, metrics=["rouge_l"])
    assert answer.status_code == 200
    assert answer.json()["results"][0]["metrics"] == {"rouge_l": None}


def test_metrics_come_by_tag_and_labels_as_a_matrix(shared: Running) -> None:
    cases = [{**CASES[0], "tags": ["greeting"]}, {**CASES[1], "tags": ["ticket"]}]
    (base,) = evaluate(shared, models=[None], cases=cases, metrics=["classification"]).json()["results"]
    assert base["tags"] == {tag: {"accuracy": 0.0, "macro_f1": 0.0} for tag in ("greeting", "ticket")}
    assert base["confusion"]["labels"] == ["hello there", "a refund"]
    assert base["confusion"]["counts"] == [[0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"cases": CASES, "metrics": ["los"]}, 400, "invalid_evaluation"),
        ({"cases": CASES, "models": [None, "tiny"]}, 400, "invalid_evaluation"),
        ({"cases": CASES, "models": ["nobody"]}, 404, "model_not_found"),
        ({"cases": []}, 400, "invalid_value"),
        ({"cases": [{"prompt": "x"}]}, 400, "invalid_evaluation"),
        ({"cases": CASES, "scorers": ["loss"]}, 400, "unknown_parameter"),
        ({"file": "file-1"}, 404, "file_not_found"),
        ({"suite": {"name": "x", "cases": []}}, 400, "invalid_suite"),
        ({"suite": 3}, 400, "invalid_value"),
        ({"cases": [{"completion": "x"}]}, 400, "invalid_value"),
        ({"cases": CASES, "dataset": "x"}, 400, "invalid_value"),
        ({}, 400, "invalid_value"),
        ({"cases": [{"prompt": "x " * 600, "completion": "y"}]}, 400, "context_length_exceeded"),
        ({"cases": CASES, "max_tokens": 5000}, 400, "invalid_value"),
    ],
)
def test_what_cannot_be_measured_is_refused(shared: Running, body: dict[str, Any], status: int, code: str) -> None:
    response = evaluate(shared, **body)
    assert (response.status_code, error_of(response)["code"]) == (status, code), response.text


def test_more_evaluations_than_there_are_places_are_asked_to_wait(run_server: RunServer) -> None:
    with run_server() as server:
        server.gate.opened.clear()
        body = json.dumps({"models": [None], "cases": CASES, "metrics": ["loss"]}).encode()
        calls = [AsgiCall(server, "/evaluate", body) for _ in range(MAX_EVALUATIONS)]
        futures = [call.start() for call in calls]
        wait_until(lambda: server.lifecycle.in_flight.num_answers == MAX_EVALUATIONS)
        response = evaluate(server, cases=CASES, models=[None])
        assert (response.status_code, error_of(response)["code"]) == (429, "too_many_evaluations")
        assert int(response.headers["retry-after"]) > 0
        server.gate.opened.set()
        assert [future.result(30) for future in futures] == [200] * MAX_EVALUATIONS


def test_a_client_that_goes_away_gives_its_place_back(run_server: RunServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_server() as server:
        server.gate.opened.clear()
        generate, begun = EngineSampler.generate, []

        def generating(sampler: EngineSampler, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
            begun.append(len(requests))
            return generate(sampler, requests)

        monkeypatch.setattr(EngineSampler, "generate", generating)
        body = json.dumps({"models": [None], "cases": CASES * 8, "metrics": ["rouge_l"], "max_tokens": 60}).encode()
        calls = [AsgiCall(server, "/evaluate", body) for _ in range(MAX_EVALUATIONS)]
        futures = [call.start() for call in calls]
        # In the engine, which the gate holds: one that has not come so far would end at once.
        wait_until(lambda: len(begun) == MAX_EVALUATIONS)
        for call, future in zip(calls, futures, strict=True):
            call.hang_up()
            future.result(20)
        assert evaluate(server, cases=CASES, models=[None]).status_code == 429
        server.gate.opened.set()
        wait_until(lambda: evaluate(server, cases=CASES, models=[None]).status_code == 200, seconds=60)
