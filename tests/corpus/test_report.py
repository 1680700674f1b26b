import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corpus.dataset import Dataset, load
from corpus.records import Record
from corpus.report import check
from corpus.tokens import NUM_BINS, token_statistics

Load = Callable[..., Dataset]
SENTENCE = "please tell me how I can change the personal identification number of my new debit card"


@dataclass(frozen=True)
class Words:
    """One token a word, completion words labelled."""

    input_ids: tuple[int, ...]
    labelled: tuple[bool, ...]


def words(record: Record) -> Words:
    if "untokenisable" in record.prompt:
        raise ValueError("cannot be rendered")
    labelled = (False,) * len(record.prompt.split()) + (True,) * len(record.completion.split())
    return Words(tuple(range(len(labelled))), labelled)


@pytest.fixture
def dataset(tmp_path: Path) -> Load:
    def make(
        *rows: tuple[Any, Any], name: str = "a.jsonl", columns: tuple[str, str] = ("question", "answer")
    ) -> Dataset:
        path = tmp_path / name
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
        return load(path, skip_bad=True)

    return make


def codes(notices: Any) -> list[str]:
    return [notice.code for notice in notices]


def test_a_clean_set_has_nothing_to_say(dataset: Load) -> None:
    report = check(dataset(("one two", "three"), ("four", "five")), tokenise=words, max_length=10)
    assert report.problems == report.warnings == ()
    assert (report.num_rows, report.num_usable, report.layout) == (2, 2, "question/answer")


def test_everything_wrong_is_reported_with_lines(dataset: Load) -> None:
    data = dataset(
        (SENTENCE, "a"), ("", ""), (SENTENCE + "!", "a"), ("", "b"), ("Hi", "x"), ("hi.", "y"), (SENTENCE + " now", "c")
    )
    report = check(data)
    assert [row.line for row in report.bad] == [2]
    assert report.empty_prompts == (4,)
    assert [group.lines for group in report.duplicate_rows] == [(1, 3)]
    assert [group.lines for group in report.duplicate_prompts] == [(1, 3), (5, 6)]
    assert [group.lines for group in report.conflicting_answers] == [(5, 6)]
    assert [(pair.first_line, pair.second_line) for pair in report.near_duplicates] == [(1, 7)]
    assert codes(report.problems) == ["bad_rows"]
    assert codes(report.warnings) == [
        "empty_prompt",
        "duplicate_rows",
        "duplicate_prompts",
        "conflicting_answers",
        "near_duplicates",
    ]
    assert report.tokens is None


def test_bad_rows_are_a_warning_when_they_are_to_be_skipped(dataset: Load) -> None:
    report = check(dataset(("q", "a"), ("q", "")), skip_bad=True)
    assert codes(report.problems) == []
    assert codes(report.warnings) == ["bad_rows"]


def test_a_test_set_is_searched_for_the_training_prompts(dataset: Load) -> None:
    train = dataset((SENTENCE, "a"), ("hello", "b"))
    test = dataset(("Hello!", "b"), ("new", "c"), (SENTENCE + " now", "a"), name="b.jsonl")
    report = check(train, test=test)
    assert [(leak.test_line, leak.train_line, leak.exact) for leak in report.leakage] == [(1, 2, True), (3, 1, False)]
    assert codes(report.warnings) == ["leakage", "near_leakage"]


def test_labels_are_counted_most_frequent_first(dataset: Load) -> None:
    data = dataset(("1", "a"), ("2", "b"), ("3", "b"), columns=("text", "label"))
    assert list(check(data).labels.items()) == [("b", 2), ("a", 1)]


def test_a_row_that_cannot_be_tokenised_is_bad_with_its_reason(dataset: Load) -> None:
    report = check(dataset(("q", "a"), ("untokenisable", "a")), tokenise=words)
    assert [(row.line, row.reason) for row in report.bad] == [(2, "cannot be rendered")]
    assert report.num_usable == 1


def test_no_usable_row_is_a_problem(dataset: Load) -> None:
    report = check(dataset(("untokenisable", "a")), tokenise=words, skip_bad=True)
    assert codes(report.problems) == ["no_usable_rows"]
    assert report.tokens is None


def test_rows_cut_before_their_first_label_are_reported(dataset: Load) -> None:
    data = dataset(("one two three", "four"), ("one", "two"))
    report = check(data, tokenise=words, max_length=3)
    assert report.tokens is not None
    assert (report.tokens.truncated_lines, report.tokens.unlabelled_lines) == ((1,), (1,))
    assert codes(report.warnings) == ["truncated", "no_label"]
    assert codes(report.problems) == []
    assert codes(check(data, tokenise=words, max_length=1).problems) == ["nothing_to_learn"]


def test_token_statistics_count_before_and_after_the_cut() -> None:
    rows = [(line, Words((0,) * length, (False,) + (True,) * (length - 1))) for line, length in enumerate(range(1, 11))]
    counted = token_statistics(rows, max_length=5)
    assert (counted.total, counted.labelled) == (55, 45)
    assert (counted.kept_total, counted.kept_labelled) == (1 + 2 + 3 + 4 + 5 * 6, 0 + 1 + 2 + 3 + 4 * 6)
    assert (counted.min, counted.median, counted.p90, counted.max) == (1, 5.5, 9, 10)
    assert counted.truncated_lines == (5, 6, 7, 8, 9)
    assert counted.unlabelled_lines == (0,)
    assert len(counted.histogram.counts) == NUM_BINS == len(counted.histogram.edges) - 1
    assert counted.histogram.counts == (0,) + (1,) * 10 + (0,) * 9


def test_without_a_limit_nothing_is_cut() -> None:
    counted = token_statistics([(1, Words((0,) * 1000, (True,) * 1000))], max_length=None)
    assert (counted.kept_total, counted.kept_labelled, counted.truncated_lines) == (1000, 999, ())
    assert sum(counted.histogram.counts) == 1
    assert counted.histogram.edges[-1] > 1000


def test_a_report_is_json(dataset: Load) -> None:
    report = check(dataset((SENTENCE, "a"), ("", ""), (SENTENCE, "b")), tokenise=words, max_length=3)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["bad"][0]["line"] == 2
    assert plain["problems"][0]["code"] == "bad_rows"
    assert plain["tokens"]["max_length"] == 3
    assert plain["conflicting_answers"][0]["lines"] == [1, 3]
