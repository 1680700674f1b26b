"""`/v1/completions` as a judge of texts: echo, logprobs and token-id prompts."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from tests.service.api.conftest import Running, error_of

TEXT = "the answer to the question is in the text"


def complete(client: TestClient, **body: Any) -> dict[str, Any]:
    values = {"model": "tiny", "prompt": TEXT, "max_tokens": 4, "temperature": 0, "ignore_eos": True, **body}
    response = client.post("/v1/completions", json=values)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def streamed(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    values = {"model": "tiny", "prompt": TEXT, "max_tokens": 4, "temperature": 0, "ignore_eos": True, **body}
    response = client.post("/v1/completions", json={**values, "stream": True})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines[:-1]]


@pytest.fixture(scope="module")
def ids(shared: Running) -> list[int]:
    return list(shared.inference.base.tokenizer(TEXT)["input_ids"])


@pytest.fixture(scope="module")
def expected(peft_model: Callable[..., Any]) -> Callable[[Sequence[int]], torch.Tensor]:
    """Log probabilities [tokens, vocabulary] after each token, by plain transformers."""
    model = peft_model(None)

    @torch.no_grad()
    def logprobs(token_ids: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = model(torch.tensor([list(token_ids)]), use_cache=False).logits[0].log_softmax(-1)
        return found

    return logprobs


def test_a_prompt_is_scored_as_plain_transformers_does(
    client: TestClient, ids: list[int], expected: Callable[..., torch.Tensor]
) -> None:
    [choice] = complete(client, prompt=ids, echo=True, max_tokens=0, logprobs=2)["choices"]
    wanted = expected(ids)
    logprobs = choice["logprobs"]
    assert choice["text"] == TEXT
    assert choice["finish_reason"] == "length"
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    own = [wanted[at, token].item() for at, token in enumerate(ids[1:])]
    assert logprobs["token_logprobs"][1:] == pytest.approx(own, abs=1e-4)
    for at, top in enumerate(logprobs["top_logprobs"][1:]):
        assert max(top.values()) == pytest.approx(wanted[at].max().item(), abs=1e-4)
        assert len(top) in (2, 3)
    assert "".join(logprobs["tokens"]) == TEXT
    assert logprobs["text_offset"] == [sum(map(len, logprobs["tokens"][:at])) for at in range(len(ids))]


def test_what_follows_an_echo_is_scored_too(
    client: TestClient, ids: list[int], expected: Callable[..., torch.Tensor]
) -> None:
    answer = complete(client, echo=True, logprobs=1)
    alone = complete(client)
    [choice] = answer["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == TEXT + alone["choices"][0]["text"]
    assert {len(column) for column in logprobs.values()} == {len(ids) + 4}
    wanted = expected(ids)[-1].max().item()
    assert logprobs["token_logprobs"][len(ids)] == pytest.approx(wanted, abs=1e-4)
    # Greedy tokens are the likeliest at their places.
    assert all(
        own == max(top.values())
        for own, top in zip(logprobs["token_logprobs"][-4:], logprobs["top_logprobs"][-4:], strict=True)
    )
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["usage"]["completion_tokens"] == 4


def test_an_echo_needs_no_logprobs(client: TestClient) -> None:
    alone = complete(client)["choices"][0]["text"]
    assert complete(client, echo=True)["choices"][0]["text"] == TEXT + alone
    [choice] = complete(client, echo=True, max_tokens=0)["choices"]
    assert (choice["text"], choice["logprobs"]) == (TEXT, None)


def test_a_prompt_of_one_token_has_nothing_to_score(client: TestClient) -> None:
    answer = complete(client, prompt=[7], echo=True, max_tokens=0, logprobs=1)
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == [None]
    assert answer["usage"]["completion_tokens"] == 0


def test_many_prompts_are_scored_in_their_order(client: TestClient, ids: list[int]) -> None:
    prompts = [ids, ids[:5], ids[3:]]
    answer = complete(client, prompt=prompts, echo=True, max_tokens=1, logprobs=1)
    for choice, prompt in zip(answer["choices"], prompts, strict=True):
        [alone] = complete(client, prompt=prompt, echo=True, max_tokens=1, logprobs=1)["choices"]
        assert len(choice["logprobs"]["tokens"]) == len(prompt) + 1
        assert choice["logprobs"]["token_logprobs"][1:] == pytest.approx(
            alone["logprobs"]["token_logprobs"][1:], abs=1e-4
        )


def test_an_adapter_judges_differently(client: TestClient, ids: list[int]) -> None:
    def score(model: str) -> float:
        [choice] = complete(client, model=model, prompt=ids, echo=True, max_tokens=0, logprobs=0)["choices"]
        return float(sum(choice["logprobs"]["token_logprobs"][1:]))

    assert len({round(score(model), 3) for model in ("tiny", "a:1", "b")}) == 3


def test_logprobs_do_not_depend_on_the_cache(client: TestClient, ids: list[int]) -> None:
    prompt = ids * 5
    first = complete(client, prompt=prompt, echo=True, max_tokens=0, logprobs=0)
    again = complete(client, prompt=prompt, echo=True, max_tokens=0, logprobs=0)
    assert len(again["choices"][0]["logprobs"]["token_logprobs"]) == len(prompt)
    assert again["choices"][0]["logprobs"]["token_logprobs"][1:] == pytest.approx(
        first["choices"][0]["logprobs"]["token_logprobs"][1:], abs=1e-4
    )


def test_logprobs_of_zero_name_the_token_alone(client: TestClient) -> None:
    [choice] = complete(client, logprobs=0)["choices"]
    assert [list(top.values()) for top in choice["logprobs"]["top_logprobs"]] == [
        [value] for value in choice["logprobs"]["token_logprobs"]
    ]


def test_logprobs_are_of_the_model_and_not_of_the_sampling(client: TestClient) -> None:
    plain = complete(client, logprobs=1, max_tokens=1)["choices"][0]["logprobs"]
    bent = complete(
        client, logprobs=1, max_tokens=1, temperature=2, seed=1, presence_penalty=2, top_k=1, logit_bias={"9": -100}
    )
    assert bent["choices"][0]["logprobs"]["top_logprobs"] == plain["top_logprobs"]


@pytest.mark.parametrize("body", [{"logprobs": 2}, {"logprobs": 0, "echo": True}, {"echo": True, "n": 2}])
def test_a_stream_adds_up_to_the_whole(client: TestClient, body: dict[str, Any]) -> None:
    whole = complete(client, prompt=[TEXT, "日本 é"], **body)["choices"]
    pieces = [chunk["choices"][0] for chunk in streamed(client, prompt=[TEXT, "日本 é"], **body)]
    for choice in whole:
        own = [piece for piece in pieces if piece["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in own) == choice["text"]
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        for column, values in (choice["logprobs"] or {}).items():
            assert [value for piece in own for value in piece["logprobs"][column]] == values, column


def test_a_prompt_scored_in_a_stream_comes_at_once(client: TestClient, ids: list[int]) -> None:
    [chunk] = streamed(client, echo=True, logprobs=1, max_tokens=0)
    assert chunk["choices"][0]["text"] == TEXT
    assert len(chunk["choices"][0]["logprobs"]["tokens"]) == len(ids)


def test_no_token_without_an_echo(client: TestClient) -> None:
    response = client.post("/v1/completions", json={"model": "tiny", "prompt": "x", "max_tokens": 0})
    assert (response.status_code, error_of(response)["param"]) == (400, "max_tokens")
