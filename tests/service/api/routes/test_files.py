from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.service.api.conftest import AsgiCall, Running, RunServer, error_of

ROWS = b"".join(
    b'{"prompt": "what is %d plus %d?", "completion": "%d"}\n' % (number, number, 2 * number) for number in range(40)
)
LIMIT = 4096


@pytest.fixture(scope="module")
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server(api_keys="acme=key,other=theirs,acme:infer=weak", max_file_bytes=LIMIT) as server:
        server.client.headers["Authorization"] = "Bearer key"
        yield server


@pytest.fixture
def client(server: Running) -> TestClient:
    return server.client


def send(client: TestClient, content: bytes = ROWS, name: str = "train.jsonl", **fields: str) -> Any:
    return client.post("/v1/files", data={"purpose": "fine-tune", **fields}, files={"file": (name, content)})


def test_a_file_goes_in_and_out(client: TestClient) -> None:
    sent = send(client, name="zürich.jsonl")
    assert sent.status_code == 200
    file = sent.json()
    assert file["object"] == "file"
    assert (file["bytes"], file["status"], file["filename"]) == (len(ROWS), "processed", "zürich.jsonl")
    assert client.get(f"/v1/files/{file['id']}").json() == file
    content = client.get(f"/v1/files/{file['id']}/content")
    assert content.content == ROWS
    assert int(content.headers["content-length"]) == len(ROWS)
    assert "z%C3%BCrich.jsonl" in content.headers["content-disposition"]
    assert client.delete(f"/v1/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}
    for path in ("", "/content", "/report"):
        gone = client.get(f"/v1/files/{file['id']}{path}")
        assert (gone.status_code, error_of(gone)["code"]) == (404, "file_not_found")


def test_a_list_is_read_page_by_page(client: TestClient) -> None:
    ids = [send(client).json()["id"] for _ in range(3)]
    first = client.get("/v1/files", params={"limit": 2}).json()
    assert ([file["id"] for file in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = client.get("/v1/files", params={"limit": 2, "after": first["last_id"]}).json()
    assert rest["data"][0]["id"] == ids[0]
    oldest = client.get("/v1/files", params={"order": "asc"}).json()
    assert [file["id"] for file in oldest["data"]][-3:] == ids
    assert client.get("/v1/files", params={"purpose": "batch"}).json()["data"] == []


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("order", "up"), ("limit", "many")])
def test_a_bad_query_is_named(client: TestClient, name: str, value: str) -> None:
    response = client.get("/v1/files", params={name: value})
    assert (response.status_code, error_of(response)["param"]) == (400, name)


@pytest.mark.parametrize(
    ("name", "content", "status", "code", "said"),
    [
        ("train.txt", ROWS, 400, "invalid_file", ".parquet"),
        ("train.jsonl", b"", 400, "invalid_file", "empty"),
        ("train.jsonl", b"x" * (LIMIT + 1), 413, "file_too_large", "LORAD_MAX_FILE_BYTES"),
        ("train.jsonl", b"x" * (1 << 17), 413, "request_too_large", "limit"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    client: TestClient, name: str, content: bytes, status: int, code: str, said: str
) -> None:
    before = client.get("/v1/files").json()
    response = send(client, content, name)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert said in error_of(response)["message"]
    assert client.get("/v1/files").json() == before


def test_another_purpose_is_refused(client: TestClient) -> None:
    response = send(client, purpose="batch")
    assert (response.status_code, error_of(response)["param"]) == (400, "purpose")


def test_a_field_that_does_not_exist_is_named(client: TestClient) -> None:
    for beside in ({}, {"purpose": "fine-tune"}):
        data = {**beside, "porpoise": "fine-tune"}
        response = client.post("/v1/files", data=data, files={"file": ("a.jsonl", ROWS)})
        assert (error_of(response)["code"], error_of(response)["param"]) == ("unknown_parameter", "porpoise")


def test_a_file_of_which_nothing_can_be_learnt_is_in_error_and_says_where(client: TestClient) -> None:
    file = send(client, b"nonsense\n").json()
    assert file["status"] == "error"
    assert "line 1" in file["status_details"]


def test_a_report_is_the_preflight_on_this_servers_base(client: TestClient) -> None:
    train, validation = (send(client, name=name).json()["id"] for name in ("train.jsonl", "held-out.jsonl"))
    told = client.get(f"/v1/files/{train}/report", params={"validation_file": validation, "max_length": 64})
    assert told.status_code == 200, told.text
    report = told.json()
    assert report["max_length"] == 64
    assert report["train"]["num_usable"] == 40
    assert "train.jsonl" in told.text
    assert "held-out.jsonl" in told.text
    assert report["estimate"]["tokens"] > 0
    assert {choice["name"] for choice in report["choices"]} >= {"learning_rate", "batch_size"}
    assert "leak" in "".join(found["code"] for found in report["train"]["findings"])
    assert "cache/files" not in told.text


def test_a_report_names_what_does_not_exist(client: TestClient) -> None:
    file = send(client).json()["id"]
    response = client.get(f"/v1/files/{file}/report", params={"validation_file": "file-none"})
    assert (response.status_code, error_of(response)["param"]) == (404, "validation_file")


def test_a_report_on_a_file_without_rows_says_why(client: TestClient) -> None:
    file = send(client, b"nonsense\n").json()["id"]
    response = client.get(f"/v1/files/{file}/report")
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_training_file")
    assert "train.jsonl" in error_of(response)["message"]
    assert "cache/files" not in response.text


def test_another_tenant_sees_none_of_it(client: TestClient) -> None:
    file = send(client).json()["id"]
    theirs = {"Authorization": "Bearer theirs"}
    for method, path in (("GET", ""), ("GET", "/content"), ("GET", "/report"), ("DELETE", "")):
        assert client.request(method, f"/v1/files/{file}{path}", headers=theirs).status_code == 404
    assert client.get("/v1/files", headers=theirs).json()["data"] == []
    assert client.get(f"/v1/files/{file}").status_code == 200


def test_a_key_that_may_only_infer_neither_reads_nor_writes(client: TestClient) -> None:
    weak = {"Authorization": "Bearer weak"}
    assert client.get("/v1/files", headers=weak).status_code == 403
    response = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", ROWS)}, headers=weak)
    assert (response.status_code, error_of(response)["code"]) == (403, "insufficient_scope")


def test_a_stranger_is_sent_away_before_the_file_is_read(run_server: RunServer) -> None:
    with run_server(api_keys="acme=key") as server:
        call = AsgiCall(server, "/v1/files", b"--x\r\n", content_type="multipart/form-data; boundary=x")
        assert call.start().result(20) == 401
        assert call.num_received == 0
