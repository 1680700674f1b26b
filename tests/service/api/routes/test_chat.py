import json
from typing import Any

import pytest
from starlette.testclient import TestClient

USER = [{"role": "user", "content": "hello"}]


def chat(client: TestClient, **body: Any) -> dict[str, Any]:
    values = {"model": "tiny", "messages": USER, "max_tokens": 8, "temperature": 0, **body}
    response = client.post("/v1/chat/completions", json=values)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def chunks(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    values = {"model": "tiny", "messages": USER, "max_tokens": 8, "temperature": 0, "stream": True, **body}
    response = client.post("/v1/chat/completions", json=values)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_answer_is_that_of_generate_and_names_the_pinned_version(client: TestClient) -> None:
    answer = chat(client, model="a")
    [output] = client.post("/generate", json={"prompt": "hello", "adapter": "a", "max_tokens": 8}).json()["outputs"]
    assert answer["model"] == "a:2"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": output["text"], "refusal": None}
    counted = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [answer["usage"][key] for key in counted] == [output["usage"][key] for key in counted]


def test_n_choices_differ_and_count_the_prompt_once(client: TestClient) -> None:
    answer = chat(client, n=3, temperature=1.5, seed=3, ignore_eos=True)
    one = chat(client, temperature=1.5, seed=3, ignore_eos=True)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts[0] == one["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == 24


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client: TestClient) -> None:
    found = chunks(client)
    whole = chat(client)["choices"][0]
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert found[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in found) == whole["message"]["content"]
    assert not any("usage" in each for each in found)


def test_usage_is_streamed_to_those_who_ask(client: TestClient) -> None:
    found = chunks(client, stream_options={"include_usage": True}, n=2)
    assert all(each["usage"] is None for each in found[:-1])
    assert found[-1]["choices"] == []
    whole = chat(client, n=2)["usage"]
    assert {**found[-1]["usage"], "prompt_tokens_details": None} == {**whole, "prompt_tokens_details": None}


def test_what_was_answered_can_be_sent_back(client: TestClient) -> None:
    answered: dict[str, Any] = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
    }
    plain = {"role": "assistant", "content": "hi"}
    found, expected = (
        chat(client, messages=[*USER, turn, {"role": "user", "content": "go on"}]) for turn in (answered, plain)
    )
    assert found["choices"][0]["message"] == expected["choices"][0]["message"]
    assert found["usage"]["prompt_tokens"] == expected["usage"]["prompt_tokens"]
    assert found["usage"]["prompt_tokens"] > chat(client)["usage"]["prompt_tokens"]


def test_the_newer_name_of_max_tokens_counts(client: TestClient) -> None:
    answer = chat(client, max_tokens=8, max_completion_tokens=2, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio", {"voice": "x"}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("best_of", 2),
        ("echo", True),
        ("store", True),
    ],
)
def test_what_is_not_built_is_refused_by_name(client: TestClient, name: str, value: Any) -> None:
    response = client.post("/v1/chat/completions", json={"model": "tiny", "messages": USER, name: value})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", name)


def test_what_asks_for_nothing_is_accepted(client: TestClient) -> None:
    answer = chat(
        client,
        logprobs=False,
        top_logprobs=None,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        logit_bias={},
        presence_penalty=0,
        frequency_penalty=0.0,
        store=False,
        user="someone",
        metadata={"team": "x"},
        stop=None,
        stream_options=None,
    )
    assert answer["choices"] == chat(client)["choices"]


def test_stream_options_need_a_stream(client: TestClient) -> None:
    body = {"model": "tiny", "messages": USER, "stream_options": {"include_usage": True}}
    response = client.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "stream_options")


def test_a_model_is_required(client: TestClient) -> None:
    error = client.post("/v1/chat/completions", json={"messages": USER}).json()["error"]
    assert (error["param"], error["code"]) == ("model", "missing_parameter")


def test_logprobs_are_of_the_answers_tokens(client: TestClient) -> None:
    choice = chat(client, logprobs=True, top_logprobs=3, ignore_eos=True)["choices"][0]
    content = choice["logprobs"]["content"]
    assert len(content) == 8
    for each in content:
        assert len(each["top_logprobs"]) == 3
        # Greedy tokens are the likeliest at their places.
        assert each["logprob"] == each["top_logprobs"][0]["logprob"] < 0
        assert each["token"] == each["top_logprobs"][0]["token"]
    written = bytes(byte for each in content for byte in each["bytes"]).decode("utf-8", "replace")
    assert written.startswith(choice["message"]["content"].rstrip("\ufffd"))


def test_logprobs_without_a_number_have_no_rivals(client: TestClient) -> None:
    content = chat(client, logprobs=True)["choices"][0]["logprobs"]["content"]
    assert [each["top_logprobs"] for each in content] == [[]] * len(content)
    assert chat(client)["choices"][0]["logprobs"] is None


def test_logprobs_are_streamed_with_their_tokens(client: TestClient) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "n": 2}
    whole = chat(client, **asked)["choices"]
    streamed: list[list[Any]] = [[], []]
    for each in chunks(client, **asked):
        [choice] = each["choices"]
        streamed[choice["index"]] += (choice["logprobs"] or {"content": []})["content"]
    assert streamed == [choice["logprobs"]["content"] for choice in whole]


def test_an_answer_follows_its_schema(client: TestClient) -> None:
    schema = {
        "type": "object",
        "properties": {"open": {"type": "boolean"}, "kind": {"enum": ["refund", "order"]}},
        "required": ["open", "kind"],
        "additionalProperties": False,
    }
    wrapped = {"type": "json_schema", "json_schema": {"name": "ticket", "schema": schema, "strict": True}}
    # The likeliest whitespace may go on for ever where it is allowed; a sampled answer ends.
    choice = chat(client, response_format=wrapped, max_tokens=120)["choices"][0]
    assert choice["finish_reason"] == "stop"
    answer = json.loads(choice["message"]["content"])
    assert set(answer) == {"open", "kind"}
    assert answer["kind"] in ("refund", "order")


def test_any_object_is_json(client: TestClient) -> None:
    text = chat(client, response_format={"type": "json_object"}, max_tokens=60)["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")
