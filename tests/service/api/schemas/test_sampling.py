from typing import Any

import pytest
from pydantic import ValidationError

from service.api.schemas.chat import ChatRequest
from service.api.schemas.completions import CompletionRequest
from service.api.schemas.generate import GenerateBody
from service.api.schemas.sampling import Sampling

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
TEXT = {"model": "m", "prompt": "x"}


def refusal(schema: type[Sampling], body: dict[str, Any]) -> tuple[str, str]:
    """Kind of the first error, and the parameter that it names."""
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(body)
    error = caught.value.errors()[0]
    return error["type"], str(error.get("ctx", {}).get("parameter") or error["loc"][0])


def test_every_parameter_reaches_the_engine() -> None:
    params = Sampling.model_validate(
        {
            "repetition_penalty": 1.5,
            "presence_penalty": -2,
            "frequency_penalty": 0.25,
            "logit_bias": {"5": -100, "17": 2.5},
            "stop_token_ids": [3, 3, 4],
            "min_tokens": 2,
            "ignore_eos": True,
            "stop": "end",
            "seed": 7,
        }
    ).params(0.5)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1.5, -2, 0.25)
    assert params.logit_bias == ((5, -100), (17, 2.5))
    assert params.stop_token_ids == {3, 4}
    assert (params.min_tokens, params.ignore_eos, params.stop, params.seed) == (2, True, ("end",), 7)
    assert (params.temperature, params.logprobs, params.prompt_logprobs, params.grammar) == (0.5, None, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("presence_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("frequency_penalty", "1"),
        ("repetition_penalty", 0),
        ("repetition_penalty", 1e-320),
        ("repetition_penalty", 10.1),
        ("repetition_penalty", float("inf")),
        ("logit_bias", {"5": 100.5}),
        ("logit_bias", {"five": 1}),
        ("logit_bias", {"05": 1}),
        ("logit_bias", {"-5": 1}),
        ("logit_bias", {"\u0665": 1}),
        ("logit_bias", {"9" * 40: 1}),
        ("logit_bias", {str(token): 1 for token in range(1025)}),
        ("logit_bias", [5]),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", [1 << 31]),
        ("stop_token_ids", ["5"]),
        ("stop_token_ids", [5] * 129),
        ("n", 0),
        ("n", 65),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", float("nan")),
        ("response_format", "json"),
        ("structured_outputs", {"regex": 5}),
        ("guided_json", {}),
        ("guided_choice", ["a"]),
    ],
)
def test_what_is_out_of_bounds_is_named(name: str, value: Any) -> None:
    assert refusal(Sampling, {name: value})[1] == name


def test_the_old_names_of_structured_outputs_are_told_the_new_ones() -> None:
    with pytest.raises(ValidationError, match=r"now called structured_outputs\.regex"):
        Sampling.model_validate({"guided_regex": "a"})


def test_two_forms_of_answer_contradict_each_other() -> None:
    body = {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}
    assert refusal(Sampling, body) == ("invalid_value", "structured_outputs")
    body["response_format"] = {"type": "text"}
    assert Sampling.model_validate(body).grammar_param == "structured_outputs"


def test_nulls_mean_the_defaults() -> None:
    assert Sampling.model_validate(dict.fromkeys(Sampling.model_fields)).params(1) == Sampling().params(1)


@pytest.mark.parametrize(
    ("body", "logprobs"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 20}, 20)],
)
def test_chat_takes_a_switch_and_a_number(body: dict[str, Any], logprobs: int | None) -> None:
    params = ChatRequest.model_validate({**CHAT, **body}).params(1)
    assert (params.logprobs, params.prompt_logprobs) == (logprobs, None)


@pytest.mark.parametrize(
    ("body", "logprobs", "prompt_logprobs"),
    [
        ({}, None, None),
        ({"logprobs": 0}, 0, None),
        ({"logprobs": 3, "echo": True}, 3, 3),
        ({"echo": True}, None, None),
        ({"echo": True, "max_tokens": 0}, None, 0),
        ({"echo": True, "max_tokens": 0, "logprobs": 5}, 5, 5),
    ],
)
def test_completions_score_the_prompt_that_they_echo(
    body: dict[str, Any], logprobs: int | None, prompt_logprobs: int | None
) -> None:
    params = CompletionRequest.model_validate({**TEXT, **body}).params(1)
    assert (params.logprobs, params.prompt_logprobs) == (logprobs, prompt_logprobs)


@pytest.mark.parametrize(
    ("schema", "body", "named"),
    [
        (ChatRequest, {"top_logprobs": 2}, ("invalid_value", "top_logprobs")),
        (ChatRequest, {"logprobs": True, "top_logprobs": 21}, ("less_than_equal", "top_logprobs")),
        (ChatRequest, {"logprobs": 2}, ("bool_type", "logprobs")),
        (ChatRequest, {"echo": True}, ("unsupported_parameter", "echo")),
        (ChatRequest, {"max_tokens": 0}, ("greater_than_equal", "max_tokens")),
        (ChatRequest, {"best_of": 2}, ("unsupported_parameter", "best_of")),
        (ChatRequest, {"merge": []}, ("too_short", "merge")),
        (
            ChatRequest,
            {"merge": [{"adapter": "a", "weight": 1}], "adapter_scale": 2},
            ("invalid_value", "adapter_scale"),
        ),
        (CompletionRequest, {"logprobs": True}, ("int_type", "logprobs")),
        (CompletionRequest, {"logprobs": 21}, ("less_than_equal", "logprobs")),
        (CompletionRequest, {"max_tokens": 0}, ("invalid_value", "max_tokens")),
        (CompletionRequest, {"top_logprobs": 2}, ("unsupported_parameter", "top_logprobs")),
        (CompletionRequest, {"suffix": "x"}, ("unsupported_parameter", "suffix")),
        (CompletionRequest, {"best_of": 4, "n": 2}, ("unsupported_parameter", "best_of")),
        (GenerateBody, {"prompt": "x", "logprobs": 21}, ("less_than_equal", "logprobs")),
    ],
)
def test_each_route_names_what_it_refuses(schema: type[Sampling], body: dict[str, Any], named: tuple[str, str]) -> None:
    bodies: dict[type[Sampling], dict[str, Any]] = {ChatRequest: CHAT, CompletionRequest: TEXT, GenerateBody: {}}
    assert refusal(schema, {**bodies[schema], **body}) == named


def test_best_of_may_say_what_n_says() -> None:
    assert CompletionRequest.model_validate({**TEXT, "best_of": 3, "n": 3}).n == 3
