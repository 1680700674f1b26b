import pytest

from corpus.synthetic.drafts import Dropped
from corpus.synthetic.parsing import goes_round, read_block, read_line
from corpus.synthetic.writing import Reply


def reply(text: str, finish_reason: str = "stop") -> Reply:
    return Reply(text=text, finish_reason=finish_reason)


@pytest.mark.parametrize(
    "written",
    [
        " Where is it?",
        '"Where is it?"',
        "\u201cWhere is it?\u201d",
        "7. Where is it?",
        "- Where is it?",
        "Sure, here is one more:\n\nWhere is it?",
        "```text\nWhere is it?\n```",
        "In other words: Where is it?",
        "Where is it?\n\nI hope that helps!",
    ],
)
def test_a_line_is_read_out_of_whatever_stands_around_it(written: str) -> None:
    assert read_line(reply(written), ("In other words:",)) == "Where is it?"


def test_quotes_inside_a_text_stay() -> None:
    assert read_line(reply('"Yes" or "no"?')) == '"Yes" or "no"?'


def test_a_block_keeps_its_lines() -> None:
    assert read_block(reply("\nSELECT 1\nFROM a\n")) == "SELECT 1\nFROM a"


@pytest.mark.parametrize(
    ("written", "finish_reason", "reason"),
    [
        ("  \n", "stop", "empty"),
        ('""', "stop", "empty"),
        ("Where is", "length", "cut_off"),
        ("", "prompt_too_long", "prompt_too_long"),
        ("I'm sorry, but I can't assist with that.", "stop", "refusal"),
        ("As an AI language model I have no card.", "stop", "refusal"),
        ("Where?\nMessage: how?", "stop", "echo"),
        ("a b c d " * 9, "stop", "repetition"),
    ],
)
def test_what_is_no_answer_is_dropped_with_its_reason(written: str, finish_reason: str, reason: str) -> None:
    with pytest.raises(Dropped) as dropped:
        read_block(reply(written, finish_reason), ("Message:",))

    assert dropped.value.reason == reason


def test_a_customer_who_is_sorry_is_no_refusal() -> None:
    assert read_line(reply("I'm sorry, I lost my card.")) == "I'm sorry, I lost my card."


def test_a_phrase_may_come_back_in_a_long_text() -> None:
    text = " ".join(f"item {n} is in stock in Oslo and {n * n} more" for n in range(6))

    assert not goes_round(text + " " + " ".join(map(str, range(80))))


def test_a_phrase_may_come_back_a_few_times() -> None:
    assert not goes_round("when the card is lost and when the card is found and when the card is new")
