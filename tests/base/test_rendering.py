from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from base.errors import RenderingError
from base.rendering import Example, Renderer, create_renderer, document, raw, stop_ids

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>")
TEXTS = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(SPECIAL)), max_size=4).map("".join)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

SaveTokenizer = Callable[..., PreTrainedTokenizerBase]
Messages = list[dict[str, Any]]

THINKING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<|pad|>\n\n{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen3's: a mark before the last answer only."""


@pytest.fixture
def chat(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return create_renderer(tokenizer, "chat")


@pytest.fixture
def plain(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return create_renderer(tokenizer, "plain")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def labelled_texts(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[str]:
    """The runs of labelled tokens, as text."""
    runs: list[list[int]] = []
    before = False
    for token, flag in zip(example.input_ids, example.labelled, strict=True):
        if flag and not before:
            runs.append([])
        if flag:
            runs[-1].append(token)
        before = flag
    return [str(tokenizer.decode(run)) for run in runs]


def test_a_chat_prompt_is_what_the_template_writes(chat: Renderer, tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [user("hello")]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(chat.prompt(messages)) == expected


def test_the_default_system_prompt_is_part_of_the_identity(chat: Renderer) -> None:
    assert "You are a tiny test model" in chat.identity.preamble


def test_exactly_the_answer_and_its_end_of_turn_are_labelled(
    chat: Renderer, tokenizer: PreTrainedTokenizerBase
) -> None:
    example = chat.conversation([user("hello"), assistant("hi there")])
    assert labelled_texts(tokenizer, example) == ["hi there<|im_end|>"]
    assert str(tokenizer.decode(list(example.input_ids))).endswith("<|im_end|>\n")


def test_every_answer_of_a_conversation_is_labelled(chat: Renderer, tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [{"role": "system", "content": "be brief"}, user("one"), assistant("1"), user("two"), assistant("2")]
    assert labelled_texts(tokenizer, chat.conversation(turns)) == ["1<|im_end|>", "2<|im_end|>"]


def test_an_own_system_prompt_takes_the_place_of_the_default(
    chat: Renderer, tokenizer: PreTrainedTokenizerBase
) -> None:
    text = str(tokenizer.decode(chat.prompt([{"role": "system", "content": "be brief"}, user("one")])))
    assert "be brief" in text
    assert "tiny test model" not in text


def test_the_plain_template_labels_answers_and_their_end_of_text(
    plain: Renderer, tokenizer: PreTrainedTokenizerBase
) -> None:
    example = plain.conversation([{"role": "system", "content": "be brief"}, user("one"), assistant("1"), user("2")])
    assert tokenizer.decode(list(example.input_ids)) == (
        "be brief\n\n### Instruction:\none\n\n### Response:\n1<|endoftext|>\n\n### Instruction:\n2\n\n### Response:\n"
    )
    assert labelled_texts(tokenizer, example) == ["1<|endoftext|>"]


def conversation_of(texts: Sequence[str]) -> Messages:
    return [(user, assistant)[at % 2](text) for at, text in enumerate(texts)]


@QUICK
@given(st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: conversation_of([*texts, *texts])))
def test_a_chat_prompt_is_the_beginning_of_its_row_whatever_the_texts(chat: Renderer, messages: Messages) -> None:
    # A row whose answer melts into the prompt's last token is refused, never mislabelled.
    try:
        example = chat.conversation(messages)
    except RenderingError as error:
        assert "not a prefix" in str(error)  # noqa: PT017 - the refusal is one of two good ends
        return
    _check_labels(chat, messages, example)


@QUICK
@given(st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: conversation_of([*texts, *texts])))
def test_a_plain_prompt_is_the_beginning_of_its_row_whatever_the_texts(plain: Renderer, messages: Messages) -> None:
    _check_labels(plain, messages, plain.conversation(messages))


def _check_labels(renderer: Renderer, messages: Messages, example: Example) -> None:
    """Each answer is labelled from the end of its prompt to its end of turn; nothing else is."""
    (end_of_turn,) = renderer.identity.end_of_turn_ids
    expected = [False] * len(example.input_ids)
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = len(renderer.prompt(messages[:at]))
        closed = renderer.conversation(messages[: at + 1])
        assert tuple(renderer.prompt(messages[:at])) == example.input_ids[:start]
        end = max(place for place, token in enumerate(closed.input_ids) if token == end_of_turn) + 1
        expected[start:end] = [True] * (end - start)
    assert list(example.labelled) == expected


def test_a_template_that_rewrites_history_is_refused(save_tokenizer: SaveTokenizer, tmp_path: Path) -> None:
    renderer = create_renderer(save_tokenizer(tmp_path, THINKING))
    with pytest.raises(RenderingError, match=r"message 1.*not a prefix.*--template plain"):
        renderer.conversation([user("one"), assistant("1"), user("two"), assistant("2")])


def test_marks_that_a_template_puts_before_an_answer_are_no_end_of_turn(
    save_tokenizer: SaveTokenizer, tmp_path: Path
) -> None:
    tokenizer = save_tokenizer(tmp_path, THINKING)
    renderer = create_renderer(tokenizer)
    assert renderer.identity.end_of_turn_ids == (tokenizer.convert_tokens_to_ids("<|im_end|>"),)
    example = renderer.conversation([user("one"), assistant("1")])
    assert labelled_texts(tokenizer, example) == ["<|pad|>\n\n1<|im_end|>"]


def test_a_template_that_closes_no_turn_is_refused_if_asked_for(save_tokenizer: SaveTokenizer, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path, "{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    with pytest.raises(RenderingError, match="no special token"):
        create_renderer(tokenizer, "chat")
    assert create_renderer(tokenizer).identity.kind == "plain"


def test_a_base_without_a_chat_template_takes_the_plain_one(save_tokenizer: SaveTokenizer, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path, None)
    assert create_renderer(tokenizer).identity.kind == "plain"
    with pytest.raises(RenderingError, match="no chat template"):
        create_renderer(tokenizer, "chat")


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_a_list_of_text_parts_is_their_text(tokenizer: PreTrainedTokenizerBase, kind: Any) -> None:
    renderer = create_renderer(tokenizer, kind)
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert renderer.prompt([{"role": "user", "content": parts}]) == renderer.prompt([user("hello")])


@pytest.mark.parametrize("kind", ["chat", "plain"])
@pytest.mark.parametrize("content", [None, 3, [{"type": "image_url", "image_url": "x"}], ["x"]])
def test_content_that_is_no_text_is_refused(tokenizer: PreTrainedTokenizerBase, kind: Any, content: object) -> None:
    with pytest.raises(RenderingError):
        create_renderer(tokenizer, kind).prompt([{"role": "user", "content": content}])


def test_the_plain_template_refuses_what_it_has_no_place_for(plain: Renderer) -> None:
    with pytest.raises(RenderingError, match="role 'tool'"):
        plain.prompt([{"role": "tool", "content": "x"}])
    with pytest.raises(RenderingError, match="no place for tools"):
        plain.prompt([user("x")], tools=[{"type": "function"}])


def test_a_document_is_labelled_whole_and_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    example = document(tokenizer, "some text")
    assert tokenizer.decode(list(example.input_ids)) == "some text<|endoftext|>"
    assert all(example.labelled)
    # The first token is predicted from nothing.
    assert example.num_labelled == len(example.input_ids) - 1


def test_raw_text_gets_no_template(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.decode(raw(tokenizer, "as it is")) == "as it is"


def test_a_tokenizer_without_an_end_of_text_is_refused(save_tokenizer: SaveTokenizer, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path, None)
    tokenizer.eos_token = None
    with pytest.raises(RenderingError, match="eos_token"):
        create_renderer(tokenizer)


def test_answers_end_at_the_end_of_turn_and_at_the_models_own_end_tokens(
    tiny_base_folder: Path, tokenizer: PreTrainedTokenizerBase, chat: Renderer
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder)
    assert stop_ids(model, chat, tokenizer) == {
        tokenizer.convert_tokens_to_ids("<|im_end|>"),
        tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
    model.generation_config.eos_token_id = [5, 6]
    assert {5, 6} < stop_ids(model, chat, tokenizer)


def test_truncation_keeps_ids_and_labels_together() -> None:
    assert Example((1, 2, 3), (False, True, True)).truncated(2) == Example((1, 2), (False, True))
