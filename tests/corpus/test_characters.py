import pytest

from corpus.characters import odd_characters


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bell\x07", "control character U+0007"),
        ("zero\u200bwidth", "invisible character U+200B"),
        ("right\u202eto left", "invisible character U+202E"),
        ("caf\u00c3\u00a9", "wrongly decoded text"),
        ("it\u00e2\u20ac\u2122s", "wrongly decoded text"),
        ("lost \ufffd byte", "replacement character"),
    ],
)
def test_odd_characters_are_named(text: str, told: str) -> None:
    found = list(odd_characters(text))
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize(
    "text", ["plain\ttext\r\nof two lines", "café, naïve, Ã", "我的卡在哪里", "می\u200cروم", "👩\u200d💻"]
)
def test_what_people_write_is_not_odd(text: str) -> None:
    assert list(odd_characters(text)) == []
