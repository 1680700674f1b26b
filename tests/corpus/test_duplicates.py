from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates import conflicting_answers, duplicate_prompts, duplicate_rows, near_duplicates, nearest
from corpus.normalise import normalise
from corpus.records import Record
from corpus.shingles import jaccard, shingles

LONG = "the quick brown fox jumps over the lazy dog while the cat sleeps under the old oak tree near the river"


def chat(line: int, prompt: str, completion: str = "a", system: str | None = None) -> Record:
    before = [{"role": "system", "content": system}] if system else []
    spoken = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    return Record(kind="chat", file="f", line=line, row={}, messages=(*before, *spoken))


def lines(*records: Record) -> tuple[int, ...]:
    return tuple(record.line for record in records)


def text(line: int, content: str) -> Record:
    return Record(kind="text", file="f", line=line, row={}, text=content)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is LoRA?", "  what is\tlora "),
        ("don't", "DONT"),
        ("don\u2019t", "don't"),
        ("ﬁne-tuning", "fine tuning"),
        ("Straße", "STRASSE"),
        ("你好，世界！", "你好 世界"),  # noqa: RUF001
        ("¿Qué?", "qué"),
    ],
)
def test_spelling_without_meaning_is_folded(first: str, second: str) -> None:
    assert normalise(first) == normalise(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("C#", "C++"), ("C#", "C"), ("50%", "50"), ("a/b", "a b"), ("?", "!"), ("你好", "您好"), ("?", "")],
)
def test_what_means_something_stays(first: str, second: str) -> None:
    assert normalise(first) != normalise(second)


def test_chinese_keeps_every_letter() -> None:
    assert normalise("解释：细胞理论。") == "解释 细胞理论"  # noqa: RUF001


@given(st.text())
def test_normalising_twice_changes_nothing_more_than_white_space_and_marks(content: str) -> None:
    assert normalise(normalise(content)).split() == normalise(content).split() or not content.isascii()


def test_equal_prompts_and_equal_rows_are_grouped_with_their_lines() -> None:
    records = [chat(1, "Hi?"), chat(2, "other"), chat(3, "hi", "A!"), chat(4, "HI", "b")]
    assert [(lines(*group.records), group.text) for group in duplicate_prompts(records)] == [((1, 3, 4), "Hi?")]
    assert [lines(*group.records) for group in duplicate_rows(records)] == [(1, 3)]
    assert [lines(*group.records) for group in conflicting_answers(records)] == [(1, 3, 4)]


def test_the_system_message_is_part_of_the_prompt() -> None:
    assert duplicate_prompts([chat(1, "hi", system="be kind"), chat(2, "hi", system="be rude")]) == ()


def test_empty_prompts_count_by_their_answers_and_never_conflict() -> None:
    records = [chat(1, "", "x"), chat(2, " ", "y"), chat(3, "", "x"), chat(4, "x", "z")]
    assert [lines(*group.records) for group in duplicate_prompts(records)] == [(1, 3)]
    assert conflicting_answers(records) == ()


def test_texts_are_grouped_by_their_text() -> None:
    assert [lines(*group.records) for group in duplicate_rows([text(1, "One."), text(2, "two"), text(3, "one")])] == [
        (1, 3)
    ]


def test_shingles_are_three_words_or_three_letters_of_an_unspaced_script() -> None:
    assert shingles("a b c d") == {"a b c", "b c d"}
    assert shingles("细胞理论") == {"细 胞 理", "胞 理 论"}
    assert shingles("use 细胞!") == {"use 细 胞"}
    assert shingles("one two") == {"one two"}
    assert shingles(" ") == frozenset()


def test_near_duplicates_carry_lines_and_the_true_similarity() -> None:
    changed = LONG.replace("river", "sea")
    (pair,) = near_duplicates([chat(7, LONG), chat(9, "something else entirely, really"), chat(12, changed)])
    assert lines(pair.first, pair.second) == (7, 12)
    assert pair.similarity == pytest.approx(jaccard(shingles(LONG), shingles(changed)))
    assert 0.8 <= pair.similarity < 1


def test_near_duplicates_are_found_in_chinese() -> None:
    sentence = "识别并解释给定列表中的两个科学理论细胞理论和日心说它们分别由谁提出"
    assert len(near_duplicates([chat(1, sentence), chat(2, sentence.replace("谁", "何人")), chat(3, "写一首诗")])) == 1


def test_exactly_equal_and_empty_prompts_are_no_near_duplicates() -> None:
    assert near_duplicates([chat(1, LONG), chat(2, LONG.upper()), chat(3, ""), chat(4, "")]) == ()


WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30).map(" ".join)


@given(st.lists(WORDS, max_size=8, unique=True))
def test_reported_pairs_are_near_and_no_very_near_pair_is_missed(texts: list[str]) -> None:
    found = {
        lines(pair.first, pair.second): pair.similarity for pair in near_duplicates(list(map(text, range(8), texts)))
    }
    for first, second in combinations(range(len(texts)), 2):
        similarity = jaccard(shingles(texts[first]), shingles(texts[second]))
        if (first, second) in found:
            assert found[first, second] == pytest.approx(similarity)
            assert similarity >= 0.8
        elif normalise(texts[first]) != normalise(texts[second]):
            assert similarity < 0.95


def test_many_rows_that_look_alike_are_each_paired_with_a_few() -> None:
    records = [text(line, f"{LONG} {LONG.upper()} number {line}") for line in range(500)]
    pairs = near_duplicates(records)
    assert {pair.second.line for pair in pairs} == set(range(1, 500))
    assert len(pairs) <= 500 * 10


def test_nearest_is_the_most_similar_or_none() -> None:
    close, closer = LONG.replace("river", "sea"), LONG + " today"
    match, none = nearest([text(1, close), text(2, closer)], [text(1, LONG + " today again"), text(2, "unrelated")])
    assert match is not None
    assert match.position == 1
    assert none is None
