import json
from typing import Any

import pytest
from starlette.testclient import TestClient

PROMPTS = ["the ticket is about refunds", "hello"]


def generate(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/generate", json={"max_tokens": 8, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


def test_every_prompt_is_answered_by_every_adapter_in_order(client: TestClient) -> None:
    outputs = generate(client, prompt=PROMPTS, adapters=[None, "a", "a:1", "b"])["outputs"]
    assert [(each["prompt_index"], each["adapter"], each["version"]) for each in outputs] == [
        (index, adapter, version)
        for index in (0, 1)
        for adapter, version in ((None, None), ("a", "a:2"), ("a:1", "a:1"), ("b", "b:1"))
    ]


def test_answers_side_by_side_are_those_each_adapter_gives_alone(client: TestClient) -> None:
    together = generate(client, prompt=PROMPTS, adapters=[None, "a:1", "b"])["outputs"]
    alone = [
        generate(client, prompt=prompt, adapter=adapter)["outputs"][0]["text"]
        for prompt in PROMPTS
        for adapter in (None, "a:1", "b")
    ]
    assert [each["text"] for each in together] == alone
    assert len(set(alone)) == len(alone)


def test_an_alias_means_the_version_it_points_to(client: TestClient) -> None:
    by_alias = generate(client, prompt="hello", adapter="a@prod")["outputs"][0]
    by_number = generate(client, prompt="hello", adapter="a:1")["outputs"][0]
    assert by_alias["version"] == "a:1"
    assert by_alias["digest"] == by_number["digest"]
    assert by_alias["text"] == by_number["text"]


def test_messages_are_what_a_prompt_is_in_one_user_turn(client: TestClient) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}]
    [by_messages], [by_prompt] = (
        generate(client, **body)["outputs"] for body in ({"messages": messages}, {"prompt": "hello"})
    )
    assert by_messages["text"] == by_prompt["text"]
    assert by_messages["usage"]["prompt_tokens"] == by_prompt["usage"]["prompt_tokens"]


def test_template_none_continues_the_text_as_it_is(client: TestClient) -> None:
    [plain] = generate(client, prompt="hello", template="none")["outputs"]
    [chat] = generate(client, prompt="hello")["outputs"]
    assert plain["usage"]["prompt_tokens"] < chat["usage"]["prompt_tokens"]


def test_a_stream_names_its_prompts_and_adapters_and_says_when_it_is_done(client: TestClient) -> None:
    body = {"prompt": PROMPTS, "adapters": [None, "b"], "max_tokens": 8}
    response = client.post("/generate", json={**body, "stream": True})
    events = events_of(response.text)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [name for name, _ in events].count("done") == 1
    assert events[-1][0] == "done"
    texts: dict[tuple[int, str | None], str] = {}
    for name, data in events[:-1]:
        assert name == "delta"
        key = (data["prompt_index"], data["adapter"])
        texts[key] = texts.get(key, "") + data["text"]
    whole = generate(client, **body)["outputs"]
    assert texts == {(each["prompt_index"], each["adapter"]): each["text"] for each in whole}


def test_the_tokens_of_a_stream_are_counted(client: TestClient) -> None:
    response = client.post("/generate", json={"prompt": "hello", "max_tokens": 5, "ignore_eos": True, "stream": True})
    last = events_of(response.text)[-2][1]
    assert last["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == 5


def test_a_seed_repeats_an_answer(client: TestClient) -> None:
    body = {"prompt": "hello", "temperature": 1.5, "max_tokens": 20, "ignore_eos": True}
    first, second = generate(client, seed=7, **body), generate(client, seed=7, **body)
    other = generate(client, seed=8, **body)
    texts = [each["outputs"][0]["text"] for each in (first, second, other)]
    assert texts[0] == texts[1] != texts[2]


def test_the_answer_ends_before_a_stop_string(client: TestClient) -> None:
    [whole] = generate(client, prompt="hello", max_tokens=20, ignore_eos=True)["outputs"]
    stop = whole["text"][4:6]
    [cut] = generate(client, prompt="hello", max_tokens=20, ignore_eos=True, stop=[stop])["outputs"]
    assert cut["text"] == whole["text"][: whole["text"].index(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_tiny_temperature_harms_nobody(client: TestClient) -> None:
    [cold], [frozen] = (generate(client, prompt="hello", temperature=value)["outputs"] for value in (1e-300, 0))
    assert cold["text"] == frozen["text"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "invalid_value"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "prompt", "invalid_value"),
        ({"prompt": "x", "adapter": "a", "adapters": ["b"]}, "adapters", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x"}], "template": "none"}, "template", "invalid_value"),
        ({"prompt": "x", "temprature": 1}, "temprature", "unknown_parameter"),
        ({"prompt": "x", "temperature": 3}, "temperature", "invalid_value"),
        ({"prompt": "x", "temperature": "1"}, "temperature", "invalid_value"),
        ({"prompt": "x", "max_tokens": 5000}, "max_tokens", "invalid_value"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens", "invalid_value"),
        ({"prompt": "x", "max_tokens": 3, "min_tokens": 4}, "min_tokens", "invalid_value"),
        ({"prompt": "x", "stop": ""}, "stop", "invalid_value"),
        ({"prompt": "x", "stop": 3}, "stop", "invalid_value"),
        ({"prompt": ["x"] * 257}, "prompt", "invalid_value"),
        ({"prompt": ["x"] * 200, "adapters": [None, "a"]}, None, "too_many_answers"),
        ({"prompt": "", "template": "none"}, None, "invalid_prompt"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages.0.content.0.type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]},
            "messages.0.tool_calls",
            "unsupported_parameter",
        ),
    ],
)
def test_a_body_that_cannot_be_served_is_refused_with_the_parameter_named(
    client: TestClient, body: dict[str, Any], param: str | None, code: str
) -> None:
    response = client.post("/generate", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code), error


def test_an_unknown_parameter_is_told_the_nearest_one(client: TestClient) -> None:
    error = client.post("/generate", json={"prompt": "x", "temprature": 1}).json()["error"]
    assert error["message"] == "temprature: there is no such parameter; did you mean 'temperature'?"


def test_nulls_mean_the_defaults(client: TestClient) -> None:
    nulls = dict.fromkeys(["seed", "stop", "temperature", "min_tokens", "adapters", "messages", "template"])
    [bare], [plain] = (generate(client, prompt="hello", **body)["outputs"] for body in (nulls, {}))
    assert bare["text"] == plain["text"]


def test_choices_of_one_prompt_are_numbered(client: TestClient) -> None:
    body = {"prompt": PROMPTS, "adapters": [None, "b"], "n": 2, "temperature": 1.5, "seed": 3}
    outputs = generate(client, **body)["outputs"]
    assert [(each["prompt_index"], each["adapter"], each["choice_index"]) for each in outputs] == [
        (prompt, adapter, choice) for prompt in (0, 1) for adapter in (None, "b") for choice in (0, 1)
    ]
    assert len({each["text"] for each in outputs}) == 8


def test_logprobs_come_with_each_output(client: TestClient) -> None:
    [output] = generate(client, prompt="hello", logprobs=2, ignore_eos=True)["outputs"]
    assert len(output["logprobs"]) == 8
    assert {len(each["top_logprobs"]) for each in output["logprobs"]} == {2}
    response = client.post(
        "/generate", json={"prompt": "hello", "logprobs": 2, "ignore_eos": True, "max_tokens": 8, "stream": True}
    )
    streamed = [each for name, data in events_of(response.text) if name == "delta" for each in data["logprobs"]]
    assert streamed == output["logprobs"]


def test_a_prompt_beyond_the_context_is_told_both_counts(client: TestClient) -> None:
    response = client.post("/generate", json={"prompt": "hello " * 400, "max_tokens": 7})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert " 7 new ones" in error["message"]
    assert "256 tokens" in error["message"]


@pytest.mark.parametrize("adapter", ["bb", "a:9", "a@prd", "Not A Name", "../../etc/passwd"])
def test_a_name_without_an_adapter_is_not_found(client: TestClient, adapter: str) -> None:
    response = client.post("/generate", json={"prompt": "x", "adapter": adapter})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_the_nearest_names_are_told(client: TestClient) -> None:
    assert "prod" in client.post("/generate", json={"prompt": "x", "adapter": "a@prd"}).json()["error"]["message"]
