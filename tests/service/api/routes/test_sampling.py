"""Parameters of sampling, on every route that generates."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.service.api.conftest import Running, error_of

USER = [{"role": "user", "content": "hello"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "hello"},
    "/v1/completions": {"model": "tiny", "prompt": "hello", "temperature": 0},
    "/v1/chat/completions": {"model": "tiny", "messages": USER, "temperature": 0},
}
Ask = Callable[..., list[str]]


@pytest.fixture(params=ROUTES)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(shared: Running, path: str) -> Ask:
    """`ask(**body)`: the texts."""

    def asked(**body: Any) -> list[str]:
        response = shared.client.post(path, json={**ROUTES[path], "max_tokens": 8, "ignore_eos": True, **body})
        assert response.status_code == 200, response.text
        answer = response.json()
        if "outputs" in answer:
            return [output["text"] for output in answer["outputs"]]
        return [choice["message"]["content"] if "message" in choice else choice["text"] for choice in answer["choices"]]

    return asked


def tokens(shared: Running, text: str) -> list[int]:
    return list(shared.inference.base.tokenizer(text)["input_ids"])


def test_a_bias_forces_and_forbids(shared: Running, ask: Ask) -> None:
    [forced] = tokens(shared, "h")
    assert ask(logit_bias={str(forced): 100}) == ["h" * 8]
    [first] = ask(max_tokens=1)
    [first_id] = tokens(shared, first) if first.isascii() else [None]
    if first_id is not None:
        assert ask(max_tokens=1, logit_bias={str(first_id): -100}) != [first]


def test_a_token_may_end_the_answer(shared: Running, ask: Ask) -> None:
    [end] = tokens(shared, "h")
    forced = {"logit_bias": {str(end): 100}}
    assert ask(**forced, stop_token_ids=[end], ignore_eos=False) != ["h" * 8]
    # Held off for as long as is asked.
    [text] = ask(**forced, stop_token_ids=[end], min_tokens=3)
    assert len(text) >= 1


@pytest.mark.parametrize("penalty", [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 10}])
def test_penalties_change_what_is_said(ask: Ask, penalty: dict[str, float]) -> None:
    assert ask(max_tokens=40) != ask(max_tokens=40, **penalty)


def test_choices_differ_and_a_seed_repeats_them(ask: Ask) -> None:
    first = ask(n=3, temperature=1.5, seed=11)
    assert first == ask(n=3, temperature=1.5, seed=11)
    assert len(set(first)) == 3
    assert ask(temperature=1.5, seed=11) == first[:1]


def test_an_answer_of_one_form(ask: Ask) -> None:
    assert ask(structured_outputs={"choice": ["blue", "green"]}, max_tokens=20, ignore_eos=False)[0] in (
        "blue",
        "green",
    )
    [digits] = ask(structured_outputs={"regex": "[0-9]{3}"}, max_tokens=20, ignore_eos=False)
    assert len(digits) == 3
    assert digits.isdecimal()


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"logit_bias": {"100000": 1}}, "logit_bias", "invalid_value"),
        ({"stop_token_ids": [100000]}, "stop_token_ids", "invalid_value"),
        ({"logit_bias": {"h": 1}}, "logit_bias", "invalid_value"),
        ({"timeout": 601}, "timeout", "invalid_value"),
        ({"structured_outputs": {"regex": "(["}}, "structured_outputs", "invalid_grammar"),
        ({"structured_outputs": {"grammar": "nothing"}}, "structured_outputs", "invalid_grammar"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "what"}}}},
            "response_format",
            "invalid_grammar",
        ),
        ({"guided_json": {}}, "guided_json", "unknown_parameter"),
        ({"n": 65}, "n", "invalid_value"),
        ({"min_tokens": 9}, "min_tokens", "invalid_value"),
    ],
)
def test_what_cannot_be_done_is_named(shared: Running, path: str, body: dict[str, Any], param: str, code: str) -> None:
    response = shared.client.post(path, json={**ROUTES[path], "max_tokens": 8, **body})
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code), error


def test_a_grammar_that_is_none_ends_a_stream_with_its_reason(shared: Running, path: str) -> None:
    body = {**ROUTES[path], "stream": True, "structured_outputs": {"regex": "(["}}
    text = shared.client.post(path, json=body).text
    assert '"code":"invalid_grammar"' in text
    assert '"param":"structured_outputs"' in text


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_the_answer(shared: Running, path: str, stream: bool) -> None:
    shared.gate.opened.clear()
    try:
        body = {**ROUTES[path], "timeout": 0.05, "max_tokens": 200, "ignore_eos": True, "stream": stream}
        shared.gate.open_in(0.3)
        response = shared.client.post(path, json=body)
    finally:
        shared.gate.opened.set()
    assert response.status_code == (200 if stream else 504)
    assert '"code":"deadline_exceeded"' in response.text
    assert shared.client.post(path, json={**ROUTES[path], "max_tokens": 1}).status_code == 200


def test_cached_tokens_are_counted(shared: Running, path: str) -> None:
    text = f"a prompt of {path} that is long enough to fill pages, and longer, and longer still, " * 2
    body = {**ROUTES[path], "max_tokens": 1}
    body |= {"messages": [{"role": "user", "content": text}]} if "messages" in body else {"prompt": text}

    def usage() -> dict[str, Any]:
        answer = shared.client.post(path, json=body).json()
        found: dict[str, Any] = answer["usage"] if "usage" in answer else answer["outputs"][0]["usage"]
        return found

    first, again = usage(), usage()
    # Chats begin alike, with the default system prompt; texts do not.
    assert first["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens_details"]["cached_tokens"]
    assert again["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens"]
