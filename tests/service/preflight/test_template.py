from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from base.errors import RenderingError
from base.rendering import create_renderer
from corpus.dataset import load
from corpus.records import Record
from service.preflight.template import FittingEncoder, features, special_tokens
from training.rows.cache import TokenCache
from training.rows.examples import Encoder

Save = Callable[..., PreTrainedTokenizerBase]
CALL = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
WITHOUT_SYSTEM = (
    "{% for message in messages %}{% if message['role'] in ('user', 'assistant') %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""A template that says nothing about roles it does not know."""


def record(*messages: dict[str, Any], tools: Any = None, line: int = 1) -> Record:
    return Record(kind="chat", file="a", line=line, row={}, messages=messages, tools=tools)


def user() -> dict[str, Any]:
    return {"role": "user", "content": "hi"}


def answer() -> dict[str, Any]:
    return {"role": "assistant", "content": "hello"}


def encoder(tokenizer: PreTrainedTokenizerBase, template: Any = "auto") -> FittingEncoder:
    return FittingEncoder(tokenizer, create_renderer(tokenizer, template))


def test_features_are_what_stands_beside_user_and_assistant_texts() -> None:
    assert list(features(record(user(), answer()))) == []
    used = record(
        {"role": "system", "content": "s"}, user(), {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "1"}, answer(), tools=(TOOL,),
    )  # fmt: skip
    assert list(features(used)) == ["system messages", "tool results", "tools", "tool calls"]


def test_a_row_whose_role_the_template_leaves_out_is_refused(tmp_path: Path, save_tokenizer: Save) -> None:
    fitting = encoder(save_tokenizer(tmp_path, WITHOUT_SYSTEM))
    system = {"role": "system", "content": "be kind"}
    with pytest.raises(RenderingError, match="leaves out system messages"):
        fitting(record(system, user(), answer()))
    assert fitting(record(user(), answer())).num_labelled > 1


def test_a_template_with_the_role_takes_the_row(tmp_path: Path, save_tokenizer: Save) -> None:
    fitting = encoder(save_tokenizer(tmp_path))
    example = fitting(record({"role": "system", "content": "be kind"}, user(), answer()))
    assert "be kind" in str(fitting.tokenizer.decode(list(example.input_ids)))


def test_tools_that_a_template_never_mentions_are_refused(tmp_path: Path, save_tokenizer: Save) -> None:
    fitting = encoder(save_tokenizer(tmp_path))
    with pytest.raises(RenderingError, match="leaves out tools"):
        fitting(record(user(), answer(), tools=(TOOL,)))
    with pytest.raises(RenderingError, match="leaves out tool calls"):
        fitting(record(user(), {"role": "assistant", "content": "", "tool_calls": [CALL]}))


def test_a_template_that_refuses_says_so_itself(tmp_path: Path, save_tokenizer: Save) -> None:
    fitting = encoder(save_tokenizer(tmp_path, None))  # The plain template, which has no tools.
    with pytest.raises(RenderingError, match="plain template has no place for tools"):
        fitting(record(user(), answer(), tools=(TOOL,)))


def test_each_row_is_encoded_once(tmp_path: Path, save_tokenizer: Save) -> None:
    fitting = encoder(save_tokenizer(tmp_path))
    assert fitting(record(user(), answer())) is fitting(record(user(), answer()))
    assert fitting(record(user(), answer())) is not fitting(record(user(), answer(), line=2))


def test_the_bases_control_tokens_are_known(tmp_path: Path, save_tokenizer: Save) -> None:
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= special_tokens(save_tokenizer(tmp_path))


def test_a_row_that_an_earlier_run_encoded_is_not_encoded_again(
    tmp_path: Path, save_tokenizer: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "hi", "answer": "hello"}\n')
    dataset = load(tmp_path / "a.jsonl")
    tokenizer, cache = save_tokenizer(tmp_path), TokenCache(tmp_path / "tokens")
    first, second = encoder(tokenizer), encoder(tokenizer)
    first.remember(dataset, cache)
    expected = first(dataset.records[0])
    first.save()
    second.remember(dataset, cache)
    monkeypatch.setattr(Encoder, "__call__", None)
    assert second(dataset.records[0]) == expected
