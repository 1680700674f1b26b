from collections.abc import Callable

from corpus.classes import class_statistics
from corpus.records import Record

Chat = Callable[..., Record]


def test_repeated_short_answers_make_a_classification_set(chat: Chat) -> None:
    records = [chat(f"q {n}", "yes" if n % 4 else "no", n) for n in range(40)]
    found = class_statistics(records)
    assert found is not None
    assert found.counts == {"yes": 30, "no": 10}
    assert (found.imbalance, found.majority_share) == (3.0, 0.75)
    assert not found.is_sorted


def test_rows_sorted_by_class_are_noticed(chat: Chat) -> None:
    records = [chat(f"q {n}", f"class {n // 10}", n) for n in range(40)]
    found = class_statistics(records)
    assert found is not None
    assert found.runs == 4
    assert found.is_sorted


def test_a_label_column_makes_one_of_any_size(chat: Chat) -> None:
    found = class_statistics([chat("q", "a", 1, label="a"), chat("r", "b", 2, label="b")])
    assert found is not None
    assert found.counts == {"a": 1, "b": 1}


def test_free_answers_make_none(chat: Chat) -> None:
    assert class_statistics([chat(f"q {n}", f"answer {n}", n) for n in range(40)]) is None
    long = "this is a sentence of many more words than any name of a class would ever have in it"
    assert class_statistics([chat(f"q {n}", long, n) for n in range(40)]) is None
    assert class_statistics([]) is None
