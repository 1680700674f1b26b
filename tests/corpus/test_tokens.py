from dataclasses import dataclass
from typing import Literal

from corpus.records import Record
from corpus.tokens import NUM_BINS, RowTokens, count_tokens, token_statistics


@dataclass(frozen=True)
class Counted:
    input_ids: tuple[int, ...]
    labelled: tuple[bool, ...]


def row(length: int, prompt: int) -> Counted:
    return Counted((0,) * length, (False,) * prompt + (True,) * (length - prompt))


def record(line: int, kind: Literal["chat", "text"] = "chat") -> Record:
    return Record(kind=kind, file="f", line=line, row={}, weight=2.0)


def counted(lengths: range, max_length: int | None) -> list[RowTokens]:
    return [item for length in lengths for item in count_tokens(record(length), row(length, 1), max_length)]


def test_a_row_is_counted_before_and_after_the_cut() -> None:
    (one,) = count_tokens(record(7), row(10, 4), 6)
    assert one == RowTokens(file="f", line=7, weight=2.0, length=10, labelled=6, kept=6, kept_labelled=2, first_label=4)


def test_a_first_token_is_predicted_by_nothing_and_never_learnt() -> None:
    (one,) = count_tokens(record(1), row(5, 0), None)
    assert one.labelled == one.kept_labelled == 4


def test_a_text_is_cut_into_windows_and_loses_nothing() -> None:
    windows = count_tokens(record(1, "text"), row(10, 0), 4)
    assert [window.kept for window in windows] == [4, 4, 2]
    assert [window.kept_labelled for window in windows] == [3, 3, 1]


def test_statistics_add_up() -> None:
    found = token_statistics(counted(range(1, 11), 5), 5)
    assert (found.total, found.labelled) == (55, 45)
    assert (found.kept_total, found.kept_labelled) == (1 + 2 + 3 + 4 + 5 * 6, 0 + 1 + 2 + 3 + 4 * 6)
    assert (found.min, found.median, found.p90, found.max) == (1, 5.5, 9, 10)
    assert found.num_truncated == 5
    assert len(found.histogram.counts) == NUM_BINS == len(found.histogram.edges) - 1
    assert found.histogram.counts == (0,) + (1,) * 10 + (0,) * 9


def test_without_a_limit_nothing_is_cut() -> None:
    found = token_statistics(count_tokens(record(1), row(1000, 1), None), None)
    assert (found.kept_total, found.kept_labelled, found.num_truncated) == (1000, 999, 0)
    assert found.histogram.edges[-1] > 1000
