import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corpus.dataset import Dataset, load_files
from corpus.findings import Finding
from corpus.records import Record
from corpus.report import Report, check
from corpus.sources import Source
from corpus.usable import CheckOptions

Load = Callable[..., Dataset]
SENTENCE = "please tell me how I can change the personal identification number of my new debit card"


@dataclass(frozen=True)
class Words:
    """A start token and one token a word, completion words labelled."""

    input_ids: tuple[int, ...]
    labelled: tuple[bool, ...]


def words(record: Record) -> Words:
    if "untokenisable" in record.prompt:
        raise ValueError("cannot be rendered")
    labelled = (False,) * (1 + len(record.prompt.split())) + (True,) * len(record.completion.split())
    return Words(tuple(range(len(labelled))), labelled)


def looked_over(data: Dataset, *, test: Dataset | None = None, **options: Any) -> Report:
    held_out = () if test is None else test.records
    return check(data, tokenise=words, validation=held_out, options=CheckOptions(**options))


def found(report: Report, code: str) -> Finding:
    (one,) = [finding for finding in report.findings if finding.code == code]
    return one


def lines(report: Report, code: str) -> tuple[int, ...]:
    (told,) = found(report, code).lines.values()
    return told


def codes(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in findings}


def test_a_clean_set_has_nothing_to_say(dataset: Load) -> None:
    report = looked_over(dataset(("one two", "three"), ("four", "five")), max_length=10)
    assert report.findings == ()
    assert (report.num_rows, report.num_usable, report.files[0].layout) == (2, 2, "question/answer")


def test_a_row_without_a_label_is_refused_with_line_and_reason(dataset: Load) -> None:
    report = looked_over(dataset(("q", "a"), ("q", " ")))
    assert codes(report.refusals) == {"bad_rows"}
    refusal = found(report, "bad_rows")
    assert (lines(report, "bad_rows"), refusal.samples[0].line) == ((2,), 2)
    assert "is empty" in refusal.samples[0].detail
    assert "--skip-bad" in refusal.fix


def test_what_cannot_be_used_is_a_warning_when_it_is_to_be_left_out(dataset: Load) -> None:
    data = dataset(("one two three", "four"), ("one", ""), ("untokenisable", "a"), ("x [INST]", "a"), ("fine", "so"))
    strict, lenient = looked_over(data, max_length=4), looked_over(data, max_length=4, skip_bad=True)
    expected = {"bad_rows", "unrenderable", "control_tokens", "no_label"}
    assert codes(strict.refusals) == expected == codes(lenient.warnings)
    assert lenient.refusals == ()
    assert [row.line for row in lenient.unusable] == [1, 2, 3, 4]
    assert lenient.num_usable == 1
    assert "takes 4 tokens, the limit is 4" in found(strict, "no_label").samples[0].detail
    assert "'[INST]', a control token of Llama 2 and Mistral" in found(strict, "control_tokens").samples[0].detail
    assert found(strict, "unrenderable").samples[0].detail == "cannot be rendered"


def test_a_file_that_teaches_nothing_is_refused_even_when_skipping(dataset: Load) -> None:
    report = looked_over(dataset(("one two three", "four")), max_length=2, skip_bad=True)
    assert codes(report.refusals) == {"nothing_to_learn"}
    assert report.tokens is None


def test_truncation_is_told_with_what_it_loses_the_worst_first(dataset: Load) -> None:
    report = looked_over(dataset(("a", "b c d e"), ("a", "b c d e f g h"), ("a", "b")), max_length=4)
    warning = found(report, "truncated")
    assert lines(report, "truncated") == (1, 2)
    assert [sample.line for sample in warning.samples] == [2, 1]
    assert "7 labelled tokens (58.3%) are lost" in warning.message
    assert "--max-length 9" in warning.fix


def test_repetitions_and_contradictions_are_told_with_lines(dataset: Load) -> None:
    report = looked_over(
        dataset((SENTENCE, "a"), (SENTENCE + "!", "A"), ("", "b"), ("Hi", "x"), ("hi.", "y"), (SENTENCE + " now", "c"))
    )
    assert lines(report, "duplicate_rows") == (2,)
    assert lines(report, "conflicting_answers") == (4, 5)
    assert "'Hi' is answered 'x' and, line 5, 'y'" in found(report, "conflicting_answers").samples[0].detail
    assert lines(report, "near_duplicates") == (6,)
    assert "like line 1" in found(report, "near_duplicates").samples[0].detail
    assert lines(report, "empty_prompt") == (3,)


def test_held_out_rows_that_training_gives_away_are_told(dataset: Load) -> None:
    train = dataset((SENTENCE, "a"), ("hello", "b"))
    test = dataset(("Hello!", "b"), ("new", "c"), (SENTENCE + " now", "a"), name="b.jsonl")
    report = looked_over(train, test=test)
    assert (lines(report, "leakage"), lines(report, "near_leakage")) == ((1,), (3,))
    assert "1 of 3" in found(report, "leakage").message
    sample = found(report, "leakage").samples[0]
    assert (sample.file, sample.line, sample.detail) == (test.path, 1, f"as training row {train.path}:2")


def test_secrets_addresses_and_odd_characters_are_told_masked(dataset: Load) -> None:
    key = "AKIA" + "IOSFODNN7QRSTUVW"
    report = looked_over(dataset((f"my key {key}", "ok"), ("jane@acme.io", "ok then"), ("be\x07ll", " padded ")))
    assert lines(report, "secrets") == (1,)
    assert key not in json.dumps(report.to_json()["findings"])
    assert found(report, "email_addresses").samples[0].detail == "j…@acme.io"
    assert lines(report, "control_characters") == (3,)
    assert lines(report, "edge_whitespace") == (3,)


def test_a_row_in_another_language_is_told(dataset: Load) -> None:
    rows = [
        (f"How long does it take until my bank card arrives in city number {n}?", f"About {n} days.") for n in range(20)
    ]
    report = looked_over(dataset(*rows, ("Wo bleibt meine neue Karte?", "Sie kommt morgen mit der Post zu Ihnen.")))
    assert lines(report, "language") == (21,)
    assert "'Sie kommt morgen" in found(report, "language").samples[0].detail
    assert dict(report.languages) == {"en": 20, "de": 1}


def test_classes_are_counted_and_judged(dataset: Load) -> None:
    rows = [(f"question {n}", "often" if n < 30 else "seldom") for n in range(36)]
    report = looked_over(dataset(*rows, columns=("text", "label")))
    assert list(report.classes.items()) == [("often", 30), ("seldom", 6)]
    assert "5.0 to 1" in found(report, "imbalance").message
    assert "83.3%" in found(report, "imbalance").fix
    assert "2 runs of 2 classes" in found(report, "sorted_by_class").message


def test_one_answer_to_many_questions_is_told(dataset: Load) -> None:
    rows = [(f"question {n}", "I do not know that." if n % 3 == 0 else f"answer {n}") for n in range(60)]
    warning = found(looked_over(dataset(*rows)), "repeated_answer")
    assert warning.count == 20
    assert "20 rows answer 'I do not know that.'" in warning.samples[0].detail


def test_held_out_rows_are_asked_whether_they_are_usable_and_no_more(dataset: Load) -> None:
    data = dataset((SENTENCE, "a"), (SENTENCE, "b"), ("", "c"), ("q", ""))
    report = check(data, tokenise=words, held_out=True)
    assert codes(report.findings) == {"bad_rows", "empty_prompt"}


@pytest.mark.parametrize("tokenise", [None, words])
def test_a_report_is_json(dataset: Load, tokenise: Any) -> None:
    report = check(dataset((SENTENCE, "a"), ("", ""), (SENTENCE, "b")), tokenise=tokenise)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["unusable"][0]["line"] == 2
    assert plain["findings"][0]["code"] == "bad_rows"
    assert (plain["tokens"] is None) == (tokenise is None)
    assert "rows" not in plain


def test_rows_of_several_files_are_never_taken_for_each_other(tmp_path: Path) -> None:
    names = ("a.jsonl", "b.jsonl")
    rows = {
        "a.jsonl": [(SENTENCE, "a"), ("x [INST]", "a"), ("", "b"), ("hi", "x")],
        "b.jsonl": [(SENTENCE + "!", "A"), ("fine", "so"), ("good", "bye"), ("Hi.", "y"), (SENTENCE + " now", "c")],
    }
    for name in names:
        lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows[name]]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    first, second = (str(tmp_path / name) for name in names)
    data = load_files([Source(Path(first)), Source(Path(second), 2)], skip_bad=True)
    report = looked_over(data, skip_bad=True)
    assert [(row.file, row.line) for row in report.unusable] == [(first, 2)]
    assert report.num_usable == 8
    assert found(report, "duplicate_rows").lines == {second: (1,)}
    assert f"as {first}:1" in found(report, "duplicate_rows").samples[0].detail
    assert found(report, "conflicting_answers").lines == {first: (4,), second: (4,)}
    assert f"answered 'x' and, {second}:4, 'y'" in found(report, "conflicting_answers").samples[0].detail
    assert found(report, "near_duplicates").lines == {second: (5,)}
    assert found(report, "empty_prompt").lines == {first: (3,)}
    assert [(row.file, row.line, row.weight) for row in report.rows if row.line == 3] == [
        (first, 3, 1), (second, 3, 2),
    ]  # fmt: skip
    assert [file["weight"] for file in json.loads(json.dumps(report.to_json()))["files"]] == [1, 2]
