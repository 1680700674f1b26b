"""Bytes that stock servers answer with 500, sent to every route that takes a body."""

from typing import Any

import pytest
from starlette.testclient import TestClient

MARK = "never-echo-this"

ROUTES = {
    "/generate": b'{"prompt": %s, "max_tokens": 2}',
    "/v1/completions": b'{"model": "tiny", "max_tokens": 2, "prompt": %s}',
    "/v1/chat/completions": b'{"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": %s}]}',
    "/evaluate": b'{"models": [null], "metrics": ["loss"], "cases": [{"prompt": %s, "completion": "x"}]}',
    "/v1/fine_tuning/jobs": b'{"model": "tiny", "training_file": %s}',
    "/v1/fine_tuning/estimate": b'{"model": "tiny", "training_file": "file-1", "metadata": {"a": %s}}',
    "/v1/arena/battles": b'{"models": ["tiny", "a"], "messages": [{"role": "user", "content": %s}]}',
    "/v1/adapters/a/rollback": b'{"alias": %s}',
    "/v1/load_lora_adapter": b'{"lora_name": %s}',
    "/v1/unload_lora_adapter": b'{"lora_name": %s}',
}

VALUES = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"1" * 5000,
    b"1e400",
    b'"\\ud800"',
    b'"a\\udfffb"',
    b'"\\ud800\\ud800"',
    b'"\xff\xfe"',
    b'"\xc3("',
    b'"\xed\xa0\x80"',
    b'"\\u0000"',
    b'"\x00"',
    b'"' + b"\\ud83d\\ude00" * 20 + b'"',
    b"[" * 100_000,
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[null]",
    b"[[[[1]]]]",
    b'{"\\ud800": 1}',
    b'["\\ud800"]',
    b"-0",
    b"1.5",
    b'""',
    b"99999999999999999999999",
]

BODIES = [
    b"",
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"[]",
    b"null",
    b'"text"',
    b"{",
    b"}",
    b'{"prompt": "x"',
    b'{"prompt": "x",}',
    b'{"prompt": "x", "prompt": "y", "max_tokens": 1}',
    b'{"\\ud800": 1}',
    b'{"\\ud800": "\\udfff", "prompt": "x"}',
    b'{"prompt": "x", "max_tokens": NaN}',
    b'{"prompt": "x", "temperature": NaN}',
    b'{"prompt": "x", "temperature": 1e999}',
    b'{"prompt": "x", "seed": 1e999}',
    b'{"prompt": "x", "seed": 99999999999999999999999999}',
    b'{"prompt": "x", "stop": ["\\ud800"]}',
    b'{"prompt": "x", "adapter": "\\ud800"}',
    b'{"model": "\\ud800", "prompt": "x"}',
    b'{"model": "a\\u0000", "prompt": "x"}',
    b'{"prompt": "x", "adapter": "a:99999999999999999999"}',
    b'{"prompt": "x", "adapter": "a:\xd9\xa1"}',
    *(
        b'{"model": "tiny", "prompt": "x", "max_tokens": 2, ' + parameter + b"}"
        for parameter in (
            b'"logit_bias": NaN',
            b'"logit_bias": {"5": NaN}',
            b'"logit_bias": {"\\ud800": 1}',
            b'"logit_bias": {"' + b"9" * 5000 + b'": 1}',
            b'"stop_token_ids": [99999999999999999999999]',
            b'"repetition_penalty": 1e-320',
            b'"repetition_penalty": 1e999',
            b'"timeout": Infinity',
            b'"response_format": NaN',
            b'"response_format": {"type": "json_object", "json_schema": null}',
            b'"structured_outputs": {"json": ' + b"[" * 900 + b"]" * 900 + b"}",
            b'"structured_outputs": {"json": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
            b'"structured_outputs": {"json": "{"}',
            b'"structured_outputs": {"json": "\\ud800"}',
            b'"structured_outputs": {"regex": "\\ud800"}',
            b'"structured_outputs": {"regex": "\\u0000(((((((((a*)*)*)*)*)*)*)*)*)*"}',
            b'"structured_outputs": {"regex": "' + b"(" * 5000 + b'"}',
            b'"structured_outputs": {"grammar": "root ::= root"}',
            b'"structured_outputs": {"grammar": "\\u0000"}',
            b'"structured_outputs": {"choice": ["\\u0000"]}',
            b'"merge": [{"adapter": "\\ud800", "weight": 1}]',
            b'"merge": [{"adapter": "a", "weight": NaN}]',
        )
    ),
    b'{"model": "tiny", "prompt": "x", "max_tokens": 1, "metadata": {"a": NaN, "b": "\\ud800"}}',
    b'{"prompt": "x", "' + b"k" * 100_000 + b'": 1}',
    b"[" * 100_000,
]


def post(client: TestClient, path: str, body: bytes, content_type: str = "application/json") -> Any:
    return client.post(path, content=body, headers={"content-type": content_type})


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:24]))
def test_an_odd_value_is_never_the_servers_fault(client: TestClient, path: str, value: bytes) -> None:
    response = post(client, path, ROUTES[path] % value)
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.json()["error"]["message"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:32]))
def test_an_odd_body_is_never_the_servers_fault(client: TestClient, path: str, body: bytes) -> None:
    assert post(client, path, body).status_code < 500


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("content_type", ["text/plain", "", "application/xml", "\x7f", "multipart/form-data"])
def test_an_odd_content_type_is_never_the_servers_fault(client: TestClient, path: str, content_type: str) -> None:
    assert post(client, path, b'{"prompt": "x"}', content_type).status_code == 400


@pytest.mark.parametrize("path", ROUTES)
def test_what_was_sent_is_never_echoed(client: TestClient, path: str) -> None:
    for value in (b'{"%s": 1}', b'["%s", 3]', b'[["%s"]]'):
        response = post(client, path, ROUTES[path] % (value % MARK.encode()))
        assert response.status_code == 400
        assert MARK not in response.text


@pytest.mark.parametrize(
    "path", ["/%00", "/v1/models/%ff%fe", "/v1/models/a%00", "/v1/adapters/%ed%a0%80", "/v1/%2e%2e"]
)
def test_an_odd_path_is_never_the_servers_fault(client: TestClient, path: str) -> None:
    assert 400 <= client.get(path).status_code < 500
