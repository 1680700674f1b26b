from collections.abc import Iterator

import pytest

from tests.service.api.conftest import Running, RunServer, error_of, upload

LIMIT, UPLOAD_LIMIT = 2048, 4096


@pytest.fixture(scope="module")
def small(run_server: RunServer) -> Iterator[Running]:
    with run_server(max_body_bytes=LIMIT, max_upload_bytes=UPLOAD_LIMIT) as server:
        yield server


def body_of(size_bytes: int) -> bytes:
    start, end = b'{"max_tokens": 1, "prompt": "', b'"}'
    return start + b"x" * (size_bytes - len(start) - len(end)) + end


def test_a_declared_length_beyond_the_limit_is_refused(small: Running) -> None:
    response = small.client.post("/generate", content=body_of(LIMIT + 1), headers={"content-type": "application/json"})
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")
    assert response.headers["connection"] == "close"


def test_a_body_that_grows_beyond_the_limit_is_refused_while_it_streams(small: Running) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 100

    response = small.client.post("/generate", content=pieces(), headers={"content-type": "application/json"})
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")


def test_a_body_at_the_limit_is_read(small: Running) -> None:
    response = small.client.post("/generate", content=body_of(LIMIT), headers={"content-type": "application/json"})
    assert error_of(response)["code"] == "context_length_exceeded"


def test_uploads_have_their_own_limit(small: Running) -> None:
    assert upload(small.client, "a", b"x" * (LIMIT + 1)).status_code == 400
    assert upload(small.client, "a", b"x" * (UPLOAD_LIMIT + 1)).status_code == 413
    assert small.client.put("/v1/adapters/a/aliases/b", content=b"x" * (LIMIT + 1)).status_code == 413


def test_a_form_that_grows_beyond_the_limit_is_refused_while_it_streams(small: Running) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        yield from (b"x" * 512 for _ in range(20))

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = small.client.post("/v1/adapters", content=pieces(), headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")
