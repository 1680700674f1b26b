import json
from typing import Any

import pytest
from starlette.testclient import TestClient


def complete(client: TestClient, **body: Any) -> dict[str, Any]:
    values = {"model": "tiny", "max_tokens": 6, "temperature": 0, "ignore_eos": True, **body}
    response = client.post("/v1/completions", json=values)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def test_no_template_is_applied(client: TestClient) -> None:
    [output] = client.post(
        "/generate", json={"prompt": "hello", "template": "none", "max_tokens": 6, "ignore_eos": True}
    ).json()["outputs"]
    answer = complete(client, prompt="hello")
    assert texts(answer) == [output["text"]]
    assert answer["usage"]["total_tokens"] == output["usage"]["total_tokens"]


def test_every_form_of_prompt_means_the_same(client: TestClient, shared: Any) -> None:
    ids = shared.inference.base.tokenizer("hello there")["input_ids"]
    expected = texts(complete(client, prompt="hello there"))
    assert texts(complete(client, prompt=["hello there"])) == expected
    assert texts(complete(client, prompt=ids)) == expected
    assert texts(complete(client, prompt=[ids, ids])) == expected * 2


def test_choices_come_prompt_by_prompt(client: TestClient) -> None:
    both = complete(client, prompt=["hello", "the ticket"], n=2)
    one, other = complete(client, prompt="hello"), complete(client, prompt="the ticket")
    assert texts(both) == [*texts(one), *texts(one), *texts(other), *texts(other)]
    assert [choice["index"] for choice in both["choices"]] == [0, 1, 2, 3]
    assert both["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"] + other["usage"]["prompt_tokens"]


def test_a_stream_of_several_prompts_tells_them_apart(client: TestClient) -> None:
    body = {"prompt": ["hello", "the ticket"], "stream": True, "stream_options": {"include_usage": True}}
    values = {"model": "b", "max_tokens": 6, "temperature": 0, "ignore_eos": True, **body}
    response = client.post("/v1/completions", json=values)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    streamed = ["", ""]
    for chunk in chunks[:-1]:
        [choice] = chunk["choices"]
        streamed[choice["index"]] += choice["text"]
    whole = complete(client, model="b", prompt=["hello", "the ticket"])
    assert lines[-1] == "[DONE]"
    assert streamed == texts(whole)
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("prompt", "param", "code"),
    [
        ("", None, "invalid_prompt"),
        ([], "prompt", "invalid_value"),
        ([[]], "prompt.0", "invalid_value"),
        ([1, "a"], "prompt.1", "invalid_value"),
        ([True], "prompt", "invalid_value"),
        ([-1], "prompt.0", "invalid_value"),
        ([10**6], None, "invalid_prompt"),
        ([1 << 40], "prompt.0", "invalid_value"),
        ({"text": "x"}, "prompt", "invalid_value"),
        (None, "prompt", "missing_parameter"),
    ],
)
def test_a_prompt_that_is_none_is_refused(client: TestClient, prompt: Any, param: str | None, code: str) -> None:
    response = client.post("/v1/completions", json={"model": "tiny", "prompt": prompt, "max_tokens": 2})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code), error


@pytest.mark.parametrize(("name", "value"), [("suffix", "x"), ("best_of", 4), ("top_logprobs", 3)])
def test_what_is_not_built_is_refused_by_name(client: TestClient, name: str, value: Any) -> None:
    response = client.post("/v1/completions", json={"model": "tiny", "prompt": "x", name: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)
