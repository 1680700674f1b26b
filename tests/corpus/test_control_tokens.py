from collections.abc import Callable

import pytest

from corpus.control_tokens import FAMILIES, control_tokens
from corpus.records import Record

Chat = Callable[..., Record]
CHATML = frozenset({"<|im_start|>", "<|im_end|>"})


@pytest.mark.parametrize(("family", "token"), [(family, tokens[0]) for family, tokens in FAMILIES.items()])
def test_each_family_is_known_by_its_tokens(chat: Chat, family: str, token: str) -> None:
    (found,) = control_tokens(chat("hi", f"{token} hello"))
    assert (found.token, found.family, found.where, found.own) == (token, family, "message 2 (assistant)", False)


def test_the_bases_own_token_in_a_message_is_named_as_such(chat: Chat) -> None:
    (found,) = control_tokens(chat("<|im_start|>user hi<|im_end|>", "hello"), CHATML)
    assert (found.token, found.own) == ("<|im_start|>", True)


def test_raw_text_may_hold_the_bases_own_tokens_but_no_other() -> None:
    text = "<|im_start|>user\nhi<|im_end|> and [INST]"
    record = Record(kind="text", file="a", line=1, row={}, text=text)
    assert [found.token for found in control_tokens(record, CHATML)] == ["[INST]"]


def test_angle_brackets_and_markup_are_text(chat: Chat) -> None:
    assert list(control_tokens(chat("<s>struck</s> a[i] <|> <start>", "<b>bold</b>"))) == []
