from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from service.api.answers.logprobs import CompletionTokens, chat_logprobs, joined
from service.engine.request import TokenLogprob
from service.inference.token_texts import TokenTexts

END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base_folder)
    return loaded


def logprobs(tokenizer: PreTrainedTokenizerBase, text: str) -> list[TokenLogprob]:
    return [TokenLogprob(token, -1.5, ((5, -0.5), (token, -1.5))) for token in tokenizer(text)["input_ids"]]


def test_the_tokens_of_an_answer_are_its_text(tokenizer: PreTrainedTokenizerBase) -> None:
    shown = chat_logprobs(TokenTexts(tokenizer), logprobs(tokenizer, "hello 日")).content
    assert bytes(byte for each in shown for byte in each.bytes).decode() == "hello 日"
    assert [each.logprob for each in shown] == [-1.5] * len(shown)
    assert [len(each.top_logprobs) for each in shown] == [2] * len(shown)


def test_minus_infinity_is_a_number_that_json_has(tokenizer: PreTrainedTokenizerBase) -> None:
    impossible = [TokenLogprob(5, float("-inf"))]
    assert chat_logprobs(TokenTexts(tokenizer), impossible).content[0].logprob == -9999
    assert CompletionTokens(TokenTexts(tokenizer)).of_answer(impossible).token_logprobs == [-9999]


def test_every_token_is_found_at_its_offset(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, answer = "hello 日 there", " ticket é 42"
    ids = tuple(tokenizer(prompt)["input_ids"])
    tokens = CompletionTokens(TokenTexts(tokenizer))
    before = tokens.of_prompt(prompt, ids, logprobs(tokenizer, prompt)[1:])
    listed = joined(before, tokens.of_answer(logprobs(tokenizer, answer)))
    text = prompt + answer
    assert listed.token_logprobs[0] is None
    assert listed.top_logprobs[0] is None
    assert None not in listed.token_logprobs[1:]
    assert {len(column) for column in listed.model_dump().values()} == {len(listed.tokens)}
    for token, offset in zip(listed.tokens, listed.text_offset, strict=True):
        assert token.startswith("bytes:") or text[offset:].startswith(token)
    assert listed.text_offset[len(ids)] == len(prompt)


def test_what_a_text_does_not_show_has_no_width(tokenizer: PreTrainedTokenizerBase) -> None:
    end = tokenizer.convert_tokens_to_ids(END)
    assert isinstance(end, int)
    ids = (end, *tokenizer("hello")["input_ids"])
    scored = [TokenLogprob(token, -1.0) for token in ids[1:]]
    listed = CompletionTokens(TokenTexts(tokenizer)).of_prompt("hello", ids, scored)
    assert listed.text_offset[:2] == [0, 0]
    shown = CompletionTokens(TokenTexts(tokenizer)).of_prompt(f"{END}hello", ids, scored)
    assert shown.text_offset[:2] == [0, len(END)]
    ended = CompletionTokens(TokenTexts(tokenizer)).of_answer([TokenLogprob(end, -1.0), *scored[:1]])
    assert ended.text_offset == [0, 0]


def test_the_likeliest_keep_their_places(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = tokenizer("h")["input_ids"][0], tokenizer("e")["input_ids"][0]
    tokens = CompletionTokens(TokenTexts(tokenizer))
    [greedy, rare] = tokens.of_answer(
        [TokenLogprob(first, -0.1, ((first, -0.1),)), TokenLogprob(second, -3.0, ((first, -0.1),))]
    ).top_logprobs
    assert greedy == {"h": -0.1}
    assert rare == {"h": -0.1, "e": -3.0}
