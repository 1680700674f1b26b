import pytest

from corpus import language
from corpus.errors import CorpusError
from corpus.language import guess, languages

ENGLISH = [
    f"How long does it take until my new bank card arrives, and can I use it in {place} then?"
    for place in (
        "Rome",
        "Oslo",
        "Paris",
        "Spain",
        "Japan",
        "Kenya",
        "Wales",
        "Texas",
        "Cairo",
        "Delhi",
        "Lima",
        "Bonn",
    )
]
GERMAN = "Wo bleibt meine neue Karte? Ich warte jetzt schon seit zwei Wochen darauf."
CHINESE = "请告诉我我的新银行卡什么时候能寄到 我已经等了两个星期了"


def test_a_row_in_another_language_stands_out() -> None:
    found = languages([*ENGLISH, GERMAN, CHINESE[:0]])
    assert found.counts == {"en": 12, "de": 1}
    assert [(position, told.language) for position, told in found.outliers] == [(12, "de")]


def test_a_language_of_many_rows_belongs_to_the_file() -> None:
    assert languages([*ENGLISH, *[GERMAN] * 4]).outliers == ()


def test_chinese_is_one_language() -> None:
    told = guess(CHINESE)
    assert told is not None
    assert told.language == "zh"


def test_short_and_doubtful_texts_are_not_judged() -> None:
    assert guess("ok") is None
    assert guess("def f(x): return x + 1") is None


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from py3langid.langid import LanguageIdentifier

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LanguageIdentifier, "from_model_file", full)
    language._identifier.cache_clear()
    with pytest.raises(CorpusError, match=r"cannot unpack its model into .*No space left.*TMPDIR"):
        guess("a text that is long enough to be judged")
