import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.api.conftest import Running, RunServer, archive_of, error_of, upload


@pytest.fixture
def server(run_server: RunServer) -> Iterator[Running]:
    with run_server() as running:
        yield running


def test_what_goes_in_comes_out_again(server: Running, archives: dict[str, bytes]) -> None:
    created = upload(server.client, "a", archives["a"])
    assert created.status_code == 201
    version = created.json()
    assert (version["id"], version["name"], version["number"], version["rank"]) == ("a:1", "a", 1, 4)
    download = server.client.get("/v1/adapters/a/versions/1/download")
    assert int(download.headers["content-length"]) == len(download.content)
    again = upload(server.client, "copy", download.content).json()
    assert again["digest"] == version["digest"]


def test_the_same_content_is_the_same_version(server: Running, archives: dict[str, bytes]) -> None:
    assert upload(server.client, "a", archives["a"]).json() == upload(server.client, "a", archives["a"]).json()


def test_a_zip_of_plain_files_is_taken(server: Running, archives: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archives["b"])) as source, zipfile.ZipFile(buffer, "w") as target:
        for member in source.getmembers():
            content = source.extractfile(member)
            if content is not None:
                target.writestr(Path(member.name).name, content.read())
    assert upload(server.client, "b", buffer.getvalue()).status_code == 201


def test_versions_and_aliases_are_managed(server: Running, archives: dict[str, bytes]) -> None:
    client = server.client
    upload(client, "a", archives["a"])
    upload(client, "a", archives["b"])
    assert client.put("/v1/adapters/a/aliases/prod", json={"version": 1}).json()["aliases"] == ["prod"]
    assert client.put("/v1/adapters/a/aliases/prod", json={"version": 2, "reason": "better"}).json()["number"] == 2
    assert client.post("/v1/adapters/a/rollback", json={"alias": "prod"}).json()["number"] == 1
    [adapter] = client.get("/v1/adapters").json()["data"]
    assert (adapter["num_versions"], adapter["latest"]["number"], adapter["aliases"]) == (2, 2, {"prod": 1})
    assert adapter == client.get("/v1/adapters/a").json()
    assert [each["number"] for each in client.get("/v1/adapters/a/versions").json()["data"]] == [2, 1]
    assert client.get("/v1/adapters/a/versions/2").json() == adapter["latest"]
    in_use = client.delete("/v1/adapters/a/versions/1")
    assert (in_use.status_code, error_of(in_use)["code"]) == (400, "alias_in_use")
    assert client.delete("/v1/adapters/a/aliases/prod").json()["deleted"] is True
    assert client.delete("/v1/adapters/a/versions/1").json()["id"] == "a:1"
    assert client.delete("/v1/adapters/a").status_code == 200
    assert client.get("/v1/adapters").json()["data"] == []


def test_a_version_serves_as_soon_as_it_is_there(server: Running, archives: dict[str, bytes]) -> None:
    body = {"prompt": "hello", "adapter": "new", "max_tokens": 2}
    assert server.client.post("/generate", json=body).status_code == 404
    upload(server.client, "new", archives["a"])
    assert server.client.post("/generate", json=body).json()["outputs"][0]["version"] == "new:1"
    server.client.delete("/v1/adapters/new")
    assert server.client.post("/generate", json=body).status_code == 404


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken", b"\x1f\x8b broken"])
def test_a_malformed_archive_is_refused(server: Running, content: bytes) -> None:
    response = upload(server.client, "a", content)
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_adapter")


def test_an_adapter_for_another_base_is_told_both_digests(
    server: Running, archives: dict[str, bytes], tmp_path: Path
) -> None:
    created = upload(server.client, "a", archives["a"]).json()
    with tarfile.open(fileobj=io.BytesIO(server.client.get("/v1/adapters/a/versions/1/download").content)) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "a-1"
    manifest = json.loads((folder / "lorad.json").read_text())
    manifest["base"] = {"name": "other", "digest": "sha256:" + "0" * 64}
    (folder / "lorad.json").write_text(json.dumps(manifest))
    response = upload(server.client, "moved", archive_of(folder))
    error = error_of(response)
    assert created["base_digest"] == "assumed"
    assert (response.status_code, error["code"]) == (400, "adapter_base_mismatch")
    assert "0" * 64 in error["message"]
    assert server.inference.base.digest in error["message"]


def test_a_rank_beyond_the_limit_is_refused(run_server: RunServer, archives: dict[str, bytes]) -> None:
    with run_server(max_lora_rank=4) as server:
        assert upload(server.client, "a", archives["a"]).status_code == 201
        response = upload(server.client, "b", archives["b"])
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_adapter")
    assert "rank 8" in error_of(response)["message"]


@pytest.mark.parametrize("name", ["", "UPPER", "../x", "a/b", "x" * 65, "tiny", "..", "a\x00b"])
def test_a_name_that_could_not_be_asked_for_is_refused(server: Running, archives: dict[str, bytes], name: str) -> None:
    response = upload(server.client, name, archives["a"])
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_name")
    assert list((server.settings.adapters / ".staging").iterdir()) == []


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"data": {"name": "a"}}, "missing_parameter"),
        ({"files": {"file": b"x"}}, "missing_parameter"),
        ({"files": {"file": b"x"}, "data": {"name": "a", "path": "/etc"}}, None),
        ({"files": {"file": b"x", "name": b"y"}}, None),
        ({"json": {"name": "a"}}, "missing_parameter"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, None),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, None),
    ],
)
def test_an_odd_form_is_refused(server: Running, form: dict[str, Any], code: str | None) -> None:
    response = server.client.post("/v1/adapters", **form)
    assert response.status_code == 400
    assert code in (None, error_of(response)["code"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/adapters/nobody"),
        ("GET", "/v1/adapters/nobody/versions"),
        ("GET", "/v1/adapters/nobody/versions/1/download"),
        ("DELETE", "/v1/adapters/nobody"),
        ("DELETE", "/v1/adapters/nobody/aliases/x"),
    ],
)
def test_what_is_not_there_is_not_found(server: Running, method: str, path: str) -> None:
    response = server.client.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/adapters/UPPER", "/v1/adapters/a%00b", "/v1/adapters/a/versions/x"])
def test_a_malformed_path_is_a_bad_request(server: Running, path: str) -> None:
    assert server.client.get(path).status_code == 400


def test_an_adapter_that_does_not_fit_is_not_listed_as_a_model(
    run_server: RunServer, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    with run_server() as server:
        folder = make_adapter(tmp_path / "wide", seed=3)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 5}))
        response = upload(server.client, "wide", archive_of(folder))
        assert (response.status_code, error_of(response)["code"]) == (400, "invalid_adapter")
        assert [each["id"] for each in server.client.get("/v1/models").json()["data"]] == ["tiny"]
