from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.jobs.tables import JobRow
from tests.service.api.conftest import Running, RunServer, error_of
from tests.service.api.job_events import say

ROWS = b"".join(b'{"prompt": "what is %d?", "completion": "%d"}\n' % (number, number) for number in range(20))
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server(api_keys="acme=key,other=theirs,acme:infer=weak") as server:
        server.client.headers["Authorization"] = "Bearer key"
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


@pytest.fixture
def file_id(client: TestClient) -> str:
    sent = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("train.jsonl", ROWS)})
    return str(sent.json()["id"])


@pytest.fixture
def create(client: TestClient, file_id: str) -> Callable[..., Any]:
    def create(headers: dict[str, str] | None = None, **fields: Any) -> Any:
        body = {"model": "tiny", "training_file": file_id, **fields}
        return client.post(JOBS, json=body, headers=headers or {})

    return create


def test_a_job_is_queued_and_says_where_it_is(client: TestClient, create: Callable[..., Any]) -> None:
    response = create(suffix="support", seed=7, lora={"rank": 8}, metadata={"team": "blue"})
    assert response.status_code == 200, response.text
    job = response.json()
    assert (job["object"], job["status"], job["organization_id"]) == ("fine_tuning.job", "queued", "acme")
    assert (job["seed"], job["suffix"], job["lora"]["rank"]) == (7, "support", 8)
    assert job["queue_position"] >= 1
    assert job["fine_tuned_model"] is job["error"] is job["progress"] is None
    assert client.get(f"{JOBS}/{job['id']}").json() == job


def test_jobs_are_listed_page_by_page_and_by_metadata(client: TestClient, create: Callable[..., Any]) -> None:
    ids = [create(metadata={"turn": str(turn % 2)}).json()["id"] for turn in range(4)]
    first = client.get(JOBS, params={"limit": 3}).json()
    assert ([job["id"] for job in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    rest = client.get(JOBS, params={"limit": 3, "after": ids[1]}).json()
    assert rest["data"][0]["id"] == ids[0]
    odd = client.get(JOBS, params={"metadata[turn]": "1", "limit": 100}).json()
    assert [job["id"] for job in odd["data"]] == [ids[3], ids[1]]
    refused = client.get(JOBS, params={'metadata[n"]': "x"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "gpt-4o-mini"}, 404, "model"),
        ({"training_file": "file-none"}, 404, "training_file"),
        ({"validation_file": "file-none"}, 404, "validation_file"),
        ({"suffix": "My Model"}, 400, "suffix"),
        ({"lora": {"rank": 0}}, 400, "lora.rank"),
        ({"lora": {"ranks": 8}}, 400, "lora.ranks"),
        ({"trainingfile": "x"}, 400, "trainingfile"),
        ({"metadata": {"k": 7}}, 400, "metadata.k"),
        ({"method": {"type": "reinforcement"}}, 400, "method.type"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 2}, "lora": {"epochs": 2}}, 400, "lora.epochs"),
        ({"lora": {"target_modules": 5}}, 400, "lora.target_modules"),
        ({"lora": {"seed": 5}}, 400, "lora.seed"),
        ({"training_files": [{"file": "file-1"}]}, 400, "training_file"),
        ({"integrations": [{"type": "wandb"}]}, 400, "integrations"),
        ({"suffix": "tiny"}, 400, "suffix"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    create: Callable[..., Any], fields: dict[str, Any], status: int, param: str
) -> None:
    response = create(**fields)
    assert (response.status_code, error_of(response)["param"]) == (status, param), response.text


def test_an_unknown_key_is_an_unknown_parameter(create: Callable[..., Any]) -> None:
    for fields in ({"trainingfile": "x"}, {"lora": {"ranks": 8}}):
        assert error_of(create(**fields))["code"] == "unknown_parameter"


def test_of_a_choice_every_way_out_is_named(create: Callable[..., Any]) -> None:
    message = error_of(create(hyperparameters={"n_epochs": 0}))["message"]
    assert message == "hyperparameters.n_epochs: Input should be 'auto' or greater than or equal to 1"


def test_a_file_without_usable_rows_is_refused(client: TestClient, create: Callable[..., Any]) -> None:
    bad = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"nonsense\n")}).json()
    response = create(training_file=bad["id"])
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_training_file")
    assert "line 1" in error_of(response)["message"]


def test_one_key_is_one_job(create: Callable[..., Any]) -> None:
    key = {"Idempotency-Key": "once"}
    first, again = create(headers=key), create(headers=key)
    assert first.json()["id"] == again.json()["id"]
    other = create(headers=key, seed=9)
    assert (other.status_code, error_of(other)["code"]) == (400, "idempotency_key_reused")
    assert create(headers={"Idempotency-Key": "twice"}).json()["id"] != first.json()["id"]


def test_a_key_gives_its_job_also_when_the_file_is_gone(
    client: TestClient, create: Callable[..., Any], file_id: str
) -> None:
    key = {"Idempotency-Key": "kept"}
    job = create(headers=key).json()["id"]
    client.post(f"{JOBS}/{job}/cancel")
    client.delete(f"/v1/files/{file_id}")
    assert create(headers=key).json()["id"] == job
    assert create().status_code == 404


def test_what_the_client_repeats_by_itself_is_one_job(create: Callable[..., Any]) -> None:
    first = create(seed=31).json()["id"]
    assert create({"x-stainless-retry-count": "1"}, seed=31).json()["id"] == first
    assert create({"x-stainless-retry-count": "1"}, seed=32).json()["id"] != first
    assert create({"x-stainless-retry-count": "0"}, seed=31).json()["id"] != first


def test_pause_resume_cancel(client: TestClient, create: Callable[..., Any]) -> None:
    path = f"{JOBS}/{create().json()['id']}"
    assert client.post(f"{path}/pause").json()["status"] == "paused"
    assert client.get(path).json()["queue_position"] is None
    assert client.post(f"{path}/resume").json()["status"] == "queued"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    for action in ("pause", "resume"):
        refused = client.post(f"{path}/{action}")
        assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_job_state")
        assert "cancelled" in error_of(refused)["message"]


def test_a_file_that_a_job_reads_cannot_be_deleted(
    client: TestClient, create: Callable[..., Any], file_id: str
) -> None:
    job = create().json()["id"]
    refused = client.delete(f"/v1/files/{file_id}")
    assert (refused.status_code, error_of(refused)["code"]) == (400, "file_in_use")
    assert job in error_of(refused)["message"]
    client.post(f"{JOBS}/{job}/cancel")
    assert client.delete(f"/v1/files/{file_id}").status_code == 200


def test_another_tenant_sees_no_job(client: TestClient, create: Callable[..., Any]) -> None:
    job = create().json()["id"]
    theirs = {"Authorization": "Bearer theirs"}
    for method, rest in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/events?stream=true"),
        ("GET", "/checkpoints"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ):
        response = client.request(method, f"{JOBS}/{job}{rest}", headers=theirs)
        assert (response.status_code, error_of(response)["code"]) == (404, "job_not_found"), rest
    assert client.get(JOBS, headers=theirs).json()["data"] == []
    assert client.get(f"{JOBS}/{job}").json()["status"] == "queued"


def test_a_key_that_may_only_infer_trains_nothing(client: TestClient, create: Callable[..., Any]) -> None:
    weak = {"Authorization": "Bearer weak"}
    assert create(headers=weak).status_code == 403
    assert client.get(JOBS, headers=weak).status_code == 403


def test_an_estimate_tells_what_a_job_would_cost(client: TestClient, file_id: str) -> None:
    before = client.get(JOBS).json()
    body = {
        "model": "tiny",
        "training_file": file_id,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        "lora": {"rank": 4},
    }
    response = client.post("/v1/fine_tuning/estimate", json=body)
    assert response.status_code == 200, response.text
    told = response.json()
    assert (told["steps_per_epoch"], told["steps"]) == (5, 10)
    assert told["tokens"] > told["labelled_tokens"] > 0
    assert told["memory"]["needs_bytes"] > 0
    assert told["adapter_bytes"] > 0
    assert "learning_rate" in {choice["name"] for choice in told["auto"]}
    assert all(choice["reason"] for choice in told["auto"])
    larger = client.post("/v1/fine_tuning/estimate", json={**body, "lora": {"rank": 8}}).json()
    assert larger["adapter_bytes"] == 2 * told["adapter_bytes"]
    assert client.get(JOBS).json() == before


def test_seconds_are_told_by_the_tenants_last_success(server: Running, client: TestClient) -> None:
    theirs = {"Authorization": "Bearer theirs"}
    files = {"file": ("train.jsonl", ROWS)}
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files, headers=theirs).json()["id"]
    body = {"model": "tiny", "training_file": file}
    job = client.post(JOBS, json=body, headers=theirs).json()["id"]

    def estimate() -> dict[str, Any]:
        told: dict[str, Any] = client.post("/v1/fine_tuning/estimate", json=body, headers=theirs).json()
        return told

    assert estimate()["seconds"] is None
    began = datetime(2026, 11, 23, tzinfo=UTC)
    with server.client.app_state["lorad"].registry.database.session() as session:
        row = session.get(JobRow, job)
        row.status, row.started_at, row.finished_at = "succeeded", began, began + timedelta(seconds=30)
        row.trained_tokens = 100
    told = estimate()
    assert told["seconds"] == pytest.approx(0.3 * told["tokens"])


def test_jobs_are_counted_for_their_tenant_only(client: TestClient, create: Callable[..., Any]) -> None:
    def queued(key: str) -> float:
        text = client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
        [line] = [line for line in text.splitlines() if line.startswith('lorad_jobs{status="queued"}')]
        return float(line.split()[-1])

    before = queued("key")
    create()
    assert queued("key") == before + 1
    assert queued("theirs") == 0


def test_events_are_listed_newest_first(server: Running, create: Callable[..., Any]) -> None:
    job = create().json()["id"]
    say(server, job, 5)
    first = server.client.get(f"{JOBS}/{job}/events", params={"limit": 3}).json()
    assert [event["message"] for event in first["data"]] == ["line 5", "line 4", "line 3"]
    assert first["has_more"]
    rest = server.client.get(f"{JOBS}/{job}/events", params={"after": first["data"][-1]["id"]}).json()
    assert [event["message"] for event in rest["data"]][:2] == ["line 2", "line 1"]
    assert not rest["has_more"]
