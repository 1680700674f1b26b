from collections.abc import Iterator

import pytest
from fastapi.routing import iter_route_contexts

from service.api.auth.principal import OPEN_PATHS, is_loopback
from tests.service.api.conftest import AsgiCall, Running, RunServer, error_of, upload

KEYS = "acme=acme-key,globex=globex-key,acme:infer=reader-key,acme:train=writer-key"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def keyed(run_server: RunServer, archives: dict[str, bytes]) -> Iterator[Running]:
    """Tenant acme has an adapter `secret-a`, globex has `secret-b`."""
    with run_server(api_keys=KEYS) as server:
        upload(server.client, "secret-a", archives["a"], **bearer("acme-key"))
        upload(server.client, "secret-b", archives["b"], **bearer("globex-key"))
        yield server


def routes(server: Running) -> list[tuple[str, str]]:
    app = server.client.app
    found = [
        (method, str(route.path).replace("{number}", "1"))
        for route in iter_route_contexts(app.routes)  # type: ignore[attr-defined]
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    return [(method, path.replace("{model:path}", "x").replace("{", "").replace("}", "")) for method, path in found]


def test_every_route_but_the_open_ones_wants_a_key(keyed: Running) -> None:
    walked = routes(keyed)
    assert len(walked) > 20
    for method, path in walked:
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic acme-key"}, {"Authorization": "Bearer"}):
            response = keyed.client.request(method, path, headers=headers)
            if path in OPEN_PATHS:
                assert response.status_code != 401, path
            else:
                assert response.status_code == 401, (method, path)
                assert error_of(response)["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"


def test_open_paths_are_routes(keyed: Running) -> None:
    assert {path for _, path in routes(keyed)} >= OPEN_PATHS


def test_a_key_without_a_scope_may_not_use_it(keyed: Running, archives: dict[str, bytes]) -> None:
    reader, writer = bearer("reader-key"), bearer("writer-key")
    assert keyed.client.get("/v1/adapters", headers=reader).status_code == 200
    assert keyed.client.post("/generate", json={"prompt": "x", "max_tokens": 1}, headers=reader).status_code == 200
    for response in (
        upload(keyed.client, "other", archives["a"], **reader),
        keyed.client.delete("/v1/adapters/secret-a", headers=reader),
        keyed.client.post("/generate", json={"prompt": "x"}, headers=writer),
        keyed.client.get("/v1/adapters/secret-a/versions/1/download", headers=writer),
    ):
        assert (response.status_code, error_of(response)["code"]) == (403, "insufficient_scope")


def test_rights_are_checked_before_names(keyed: Running) -> None:
    there = keyed.client.delete("/v1/adapters/secret-a", headers=bearer("reader-key"))
    nowhere = keyed.client.delete("/v1/adapters/nobody", headers=bearer("reader-key"))
    assert error_of(there) | {"request_id": ""} == error_of(nowhere) | {"request_id": ""}


def test_no_route_tells_one_tenant_of_anothers_adapters(keyed: Running) -> None:
    acme, case = bearer("acme-key"), {"prompt": "x", "completion": "y"}
    answers = [
        keyed.client.get("/v1/models", headers=acme),
        keyed.client.get("/v1/models/secret-c", headers=acme),
        keyed.client.get("/v1/models/secret-b", headers=acme),
        keyed.client.get("/v1/adapters", headers=acme),
        keyed.client.get("/v1/adapters/secret-", headers=acme),
        keyed.client.get("/metrics", headers=acme),
        keyed.client.get("/v1/adapters/secret-b", headers=acme),
        keyed.client.get("/v1/adapters/secret-b/versions/1/download", headers=acme),
        keyed.client.delete("/v1/adapters/secret-b", headers=acme),
        keyed.client.put("/v1/adapters/secret-b/aliases/x", json={"version": 1}, headers=acme),
        keyed.client.post("/generate", json={"prompt": "x", "adapter": "secret-b"}, headers=acme),
        keyed.client.post("/evaluate", json={"models": ["secret-b"], "cases": [case]}, headers=acme),
    ]
    for response in answers[:6]:
        assert response.status_code in (200, 404)
        own_question = str(response.request.url.path).endswith("secret-b")
        assert own_question or "secret-b" not in response.text
    for response in answers[6:]:
        assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
        assert "did you mean 'secret-a'?" in error_of(response)["message"]
    assert keyed.client.get("/v1/adapters/secret-b", headers=bearer("globex-key")).status_code == 200


def test_an_upload_without_a_key_is_not_even_read(keyed: Running) -> None:
    call = AsgiCall(keyed, "/v1/adapters", b"", content_type="multipart/form-data; boundary=x")
    assert call.start().result(20) == 401
    assert call.num_received == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "[::"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[::"},
    ],
)
def test_without_keys_no_web_page_of_another_host_gets_in(shared: Running, headers: dict[str, str]) -> None:
    response = shared.client.get("/v1/models", headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (403, "untrusted_host")


@pytest.mark.parametrize(
    "headers", [{"host": "localhost:8000"}, {"host": "[::1]:80", "origin": "http://127.0.0.1:3000"}]
)
def test_without_keys_local_pages_get_in(shared: Running, headers: dict[str, str]) -> None:
    assert shared.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
