"""The real openai client against a real server on a socket."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

from service.api.process.server import Server
from service.engine.errors import EngineFailedError
from service.engine.request import Delta
from service.engine.stream import TokenStream
from service.settings import Settings
from tests.service.api.conftest import upload_to, wait_until

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server(make_settings: Callable[..., Settings], archives: dict[str, bytes]) -> Iterator[Server]:
    server = Server(make_settings(api_keys="acme=key"))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wait_until(lambda: server.lifecycle.phase == "ready")
    upload_to(server.url, "support", archives["a"], "key")
    yield server
    server.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="support", messages=[{"role": "user", "content": "hello"}], max_tokens=5, temperature=0
    )
    assert answer.model == "support:1"
    assert answer.choices[0].message.content is not None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streamed(client: openai.OpenAI) -> None:
    asked = {"model": "support", "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(messages=HELLO, **asked)  # type: ignore[call-overload]
    with client.chat.completions.create(
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
        **asked,  # type: ignore[call-overload]
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_completions_take_vllms_extras(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny", prompt=["hello", "there"], max_tokens=6, extra_body={"ignore_eos": True, "top_k": 5, "min_p": 0.1}
    )
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]


def test_completions_streamed(client: openai.OpenAI) -> None:
    chunks = list(client.completions.create(model="tiny", prompt="hello", max_tokens=6, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_chat_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="support",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert answer.usage is not None
    assert len(logprobs.content) == answer.usage.completion_tokens
    assert [len(each.top_logprobs) for each in logprobs.content] == [2] * len(logprobs.content)
    assert logprobs.content[0].bytes is not None


def test_a_text_is_scored_by_its_echo(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="support", prompt="hello there", max_tokens=0, echo=True, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert answer.choices[0].text == "hello there"
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert "".join(logprobs.tokens) == "hello there"
    # The client's types forget that nothing predicts the first token.
    assert logprobs.token_logprobs[0] is None
    assert all(value < 0 for value in logprobs.token_logprobs[1:])


class Ticket(BaseModel):
    """What a schema is made of."""

    open: bool
    kind: Literal["refund", "order"]


def test_an_answer_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="support",
        messages=[{"role": "user", "content": "hello"}],
        response_format=Ticket,
        max_tokens=120,
        temperature=0,
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Ticket)
    assert json.loads(answer.choices[0].message.content or "") == parsed.model_dump()


def test_a_parsed_answer_is_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        response_format=Ticket,
        max_tokens=120,
        temperature=0,
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Ticket)


def test_sampling_parameters(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        max_completion_tokens=6,
        n=3,
        seed=5,
        temperature=1.5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"5": -100},
        stop=["###"],
        extra_body={"repetition_penalty": 1.2, "stop_token_ids": [3], "min_tokens": 2, "timeout": 60},
    )
    assert len({choice.message.content for choice in answer.choices}) == 3


def test_adapters_are_scaled_and_merged_by_extra_fields(client: openai.OpenAI) -> None:
    scaled = client.completions.create(model="support", prompt="x", max_tokens=2, extra_body={"adapter_scale": 0.5})
    merged = client.completions.create(
        model="tiny", prompt="x", max_tokens=2, extra_body={"merge": [{"adapter": "support", "weight": 0.25}]}
    )
    assert (scaled.model, merged.model) == ("support:1*0.5", "support:1*0.25")


def test_cached_tokens_are_told(client: openai.OpenAI) -> None:
    prompt = "a long text that fills some pages of the cache, again and again, " * 3
    first, again = (client.completions.create(model="support", prompt=prompt, max_tokens=1) for _ in range(2))
    assert first.usage is not None
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert 0 < (again.usage.prompt_tokens_details.cached_tokens or 0) < again.usage.prompt_tokens


def test_a_deadline_is_the_clients_own_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as late:
        client.completions.create(
            model="tiny", prompt="x", max_tokens=200, extra_body={"ignore_eos": True, "timeout": 0.001}
        )
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "support"]
    assert client.models.retrieve("support:1").id == "support:1"


def test_errors_are_of_the_clients_own_types(client: openai.OpenAI, server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="suport", messages=[{"role": "user", "content": "x"}])
    assert (missing.value.code, missing.value.type) == ("model_not_found", "invalid_request_error")
    assert "did you mean 'support'?" in missing.value.message
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}], top_logprobs=2)
    assert (bad.value.code, bad.value.param) == ("invalid_value", "top_logprobs")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="tiny", prompt="x " * 500, max_tokens=5)
    assert long.value.code == "context_length_exceeded"
    stranger = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError) as unknown:
        stranger.models.list()
    assert unknown.value.code == "invalid_api_key"
    assert unknown.value.request_id
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_hanging_up_a_stream_frees_the_engine(client: openai.OpenAI, server: Server) -> None:
    with client.completions.create(
        model="tiny", prompt="hello", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        next(iter(stream))
    wait_until(lambda: server.lifecycle.in_flight.num_requests == 0)
    assert server.lifecycle.in_flight.num_answers == 0


def test_a_stream_that_fails_raises_in_the_client(
    client: openai.OpenAI, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_requests: object) -> list[TokenStream]:
        stream = TokenStream(1)
        stream.put(Delta("begun", (5,)))
        stream.put(EngineFailedError("it broke"))
        return [stream]

    monkeypatch.setattr(server.lifecycle.inference().engine, "submit_all", fail)
    stream = client.completions.create(model="tiny", prompt="hello", stream=True)
    received: list[str] = []
    with pytest.raises(openai.APIError, match="it broke") as failed:
        received.extend(chunk.choices[0].text for chunk in stream)
    assert failed.value.code == "engine_failed"
