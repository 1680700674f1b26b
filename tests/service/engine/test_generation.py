"""What the sampling parameters of one request do, in the engine."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from service.engine.engine import Engine
from service.engine.errors import InvalidGrammarError
from service.engine.request import AdapterSource, GenerationRequest, Grammar
from service.engine.stream import TokenStream

MakeRequest = Callable[..., GenerationRequest]
SubmitTogether = Callable[[Engine, Sequence[GenerationRequest]], list[TokenStream]]


@pytest.fixture
def prompt(prompts: list[tuple[int, ...]]) -> tuple[int, ...]:
    return prompts[1]


@pytest.fixture
def greedy(oracle: Any, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """What the base says to the prompt."""
    tokens: tuple[int, ...] = oracle.greedy(prompt, None, 24).token_ids
    return tokens


def test_the_text_is_the_decoding_of_the_tokens(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...], tokenizer: PreTrainedTokenizerBase
) -> None:
    deltas = list(engine.submit(make_request(prompt, max_tokens=40)))
    tokens = [token for delta in deltas for token in delta.token_ids]
    assert len(tokens) == 40
    assert "".join(delta.text for delta in deltas) == tokenizer.decode(tokens, skip_special_tokens=True)
    assert [delta.finish_reason for delta in deltas] == [None] * 39 + ["length"]


def test_a_stop_string_ends_the_answer_before_it(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...], tokenizer: PreTrainedTokenizerBase
) -> None:
    whole = engine.submit(make_request(prompt, max_tokens=40)).answer().text
    stop = whole[20:24]
    answer = engine.submit(make_request(prompt, max_tokens=40, stop=("not in it", stop))).answer()
    assert answer.text == whole[: whole.index(stop)]
    assert answer.finish_reason == "stop"
    assert stop in str(tokenizer.decode(list(answer.token_ids)))


def test_end_tokens_are_not_taken_before_the_least_number(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...], greedy: tuple[int, ...]
) -> None:
    end = greedy[2]
    assert engine.submit(make_request(prompt, stop_ids=[end])).answer().token_ids == greedy[: greedy.index(end) + 1]
    answer = engine.submit(make_request(prompt, stop_ids=[end], min_tokens=6, max_tokens=20)).answer()
    assert end not in answer.token_ids[:6]
    assert answer.token_ids[:2] == greedy[:2]
    assert len(answer.token_ids) > 6 or answer.finish_reason == "length"


def test_stop_strings_count_only_after_the_least_number(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...]
) -> None:
    whole = engine.submit(make_request(prompt, max_tokens=24)).answer()
    first = next(character for character in whole.text if character.isascii())
    answer = engine.submit(make_request(prompt, max_tokens=24, min_tokens=24, stop=(first,))).answer()
    assert answer.token_ids == whole.token_ids
    assert answer.text.startswith(whole.text[: whole.text.index(first) + 1])


def test_end_tokens_can_be_ignored(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...], greedy: tuple[int, ...]
) -> None:
    request = make_request(prompt, stop_ids=[greedy[0]], ignore_eos=True, max_tokens=24)
    answer = engine.submit(request).answer()
    assert (answer.token_ids, answer.finish_reason) == (greedy, "length")


def test_a_seed_gives_the_same_text_whatever_else_is_in_the_batch(
    engine: Engine,
    adapters: list[AdapterSource],
    make_request: MakeRequest,
    submit_together: SubmitTogether,
    prompts: list[tuple[int, ...]],
) -> None:
    request = make_request(prompts[0], adapters[1], temperature=0.8, seed=7, max_tokens=20)
    alone = engine.submit(request).answer().token_ids
    others = [make_request(prompt, adapters[0], temperature=1.0, max_tokens=25) for prompt in prompts]
    assert submit_together(engine, [*others, request])[-1].answer().token_ids == alone
    twice = [stream.answer().token_ids for stream in submit_together(engine, [request, request])]
    assert twice == [alone, alone]
    other_seed = make_request(prompts[0], adapters[1], temperature=0.8, seed=8, max_tokens=20)
    assert engine.submit(other_seed).answer().token_ids != alone


def test_a_callers_end_tokens_end_the_answer_and_are_part_of_it(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...], greedy: tuple[int, ...]
) -> None:
    end = greedy[5]
    for ignore_eos in (False, True):
        request = make_request(prompt, stop_token_ids=frozenset({end}), ignore_eos=ignore_eos, max_tokens=24)
        answer = engine.submit(request).answer()
        assert (answer.token_ids, answer.finish_reason) == (greedy[: greedy.index(end) + 1], "stop")


def test_random_answers_without_a_seed_differ_and_with_seeds_are_their_own(
    engine: Engine, make_request: MakeRequest, prompt: tuple[int, ...]
) -> None:
    request = make_request(prompt, temperature=1.0, max_tokens=16)
    texts = [stream.answer().text for stream in engine.submit_all([request] * 4)]
    assert len(set(texts)) == 4
    seeded = [replace(request, params=replace(request.params, seed=seed)) for seed in (1, 2, 1)]
    first, second, again = (stream.answer().token_ids for stream in engine.submit_all(seeded))
    assert first == again != second


SCHEMA = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "team": {"enum": ["support", "sales"]}},
    "required": ["sure", "team"],
    "additionalProperties": False,
}


def test_an_answer_under_a_grammar_ends_and_is_valid_beside_others(
    start_engine: Callable[..., Engine],
    adapters: list[AdapterSource],
    make_request: MakeRequest,
    prompt: tuple[int, ...],
    greedy: tuple[int, ...],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    engine, schema = start_engine(), Grammar("json_schema", json.dumps(SCHEMA))
    values = {"grammar": schema, "max_tokens": 120, "stop_ids": [tokenizer.eos_token_id]}
    constrained = [
        engine.submit(make_request(prompt, model, temperature=temperature, **values))
        for model in (None, adapters[0])
        for temperature in (0.0, 1.5)
    ]
    free = engine.submit(make_request(prompt, max_tokens=24))
    broken = engine.submit(make_request(prompt, grammar=Grammar("regex", "(")))
    for stream in constrained:
        answer = stream.answer()
        assert answer.finish_reason == "stop"
        found = json.loads(answer.text)
        assert set(found) == {"sure", "team"}
        assert found["team"] in ("support", "sales")
    assert free.answer().token_ids == greedy
    with pytest.raises(InvalidGrammarError):
        broken.answer()
    chosen = Grammar("choice", json.dumps(["left", "right"]))
    assert engine.submit(make_request(prompt, grammar=chosen)).answer().text in ("left", "right")


def test_a_grammar_survives_preemption_and_min_tokens_and_ignored_ends(
    start_engine: Callable[..., Engine], make_request: MakeRequest, prompts: list[tuple[int, ...]]
) -> None:
    engine = start_engine(page_tokens=4, cache_bytes=80 * 512, prefix_caching=False)
    pairs = Grammar("regex", "(ab|cd|xy){15}")
    requests = [
        make_request(prompts[at], grammar=pairs, max_tokens=60, min_tokens=10, ignore_eos=True) for at in (0, 1, 5)
    ]
    for stream in engine.submit_all(requests):
        answer = stream.answer()
        assert answer.finish_reason == "stop"
        assert re.fullmatch("(ab|cd|xy){15}", answer.text)
    assert engine._loop._scheduler.num_preemptions > 0
