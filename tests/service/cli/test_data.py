import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""

BAD = '{"question": "What?", "answer": ""}\n{"question": "Who?", "answer": "me"}\n'


def test_check_reports_and_accepts_a_good_file(run: Run, rows: Path) -> None:
    outcome = run("data", "check", rows)
    assert outcome.code == 0
    assert "question/answer, 20 rows" in outcome.out
    assert "line 1 as the model sees it" in outcome.out
    assert "You are a tiny test model" in outcome.out
    assert "training would accept this file" in outcome.out


def test_check_refuses_a_bad_row_with_file_line_and_reason(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(BAD, encoding="utf-8")
    outcome = run("data", "check", file)
    assert outcome.code == 1
    assert "refused  rows that cannot be used: 1" in outcome.out
    assert "line 1" in outcome.out
    assert "the completion (field 'answer') is empty" in outcome.out
    assert "--skip-bad" in outcome.out
    assert run("data", "check", file, "--skip-bad").code == 0


def test_check_as_json_holds_the_figures(run: Run, rows: Path) -> None:
    report = json.loads(run("data", "check", rows, "--validation", rows, "--max-length", "60", "--json").out)
    assert report["refused"] is False
    assert report["train"]["num_usable"] == 20
    found = {finding["code"]: finding for finding in report["train"]["findings"]}
    assert found["leakage"]["count"] == 20
    assert report["estimate"]["steps"] == 9
    assert report["estimate"]["memory"]["weights_bytes"] > 0
    assert [choice["name"] for choice in report["choices"]] == ["learning_rate", "batch_size"]


def test_columns_can_be_mapped(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("ask,reply\nWhat?,That\n", encoding="utf-8")
    assert run("data", "check", file).code == 1
    assert run("data", "check", file, "--prompt-column", "ask", "--completion-column", "reply").code == 0


def test_split_writes_both_sides_and_repeats_itself(run: Run, rows: Path, tmp_path: Path) -> None:
    sides = [(tmp_path / f"train{n}.jsonl", tmp_path / f"test{n}.jsonl") for n in range(2)]
    for train, test in sides:
        assert run("data", "split", rows, "--train", train, "--test", test, "--test-size", "5").code == 0
    texts = [[side.read_text() for side in pair] for pair in sides]
    assert texts[0] == texts[1]
    assert [len(text.splitlines()) for text in texts[0]] == [15, 5]


def test_a_missing_file_is_one_line(run: Run, tmp_path: Path) -> None:
    outcome = run("data", "check", tmp_path / "none.jsonl")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "none.jsonl" in outcome.err


def test_a_label_column_stratifies_the_split(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "intents.csv"
    lines = [f"ask {n} please,{'ab'[n >= 10]}" for n in range(20)]
    file.write_text("utterance,intent\n" + "\n".join(lines) + "\n", encoding="utf-8")
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    flags = ("--text-column", "utterance", "--label-column", "intent", "--test-size", "4", "--json")
    outcome = run("data", "split", file, "--train", train, "--test", test, *flags)
    assert json.loads(outcome.out) == {"train": 16, "test": 4, "bad": 0}
    labels = [json.loads(line)["intent"] for line in test.read_text().splitlines()]
    assert sorted(labels) == ["a", "a", "b", "b"]


def test_a_long_text_is_counted_in_windows_and_not_as_cut(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps({"text": "a long text about tickets " * 20}) + "\n", encoding="utf-8")
    report = json.loads(run("data", "check", file, "--max-length", "32", "--json").out)
    tokens = report["train"]["tokens"]
    assert (tokens["num_truncated"], tokens["max"]) == (0, 32)
    assert tokens["kept_total"] == tokens["total"] > 32


def test_check_shows_warnings_with_their_rows_and_the_way_out(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"question": "Who?", "answer": "me"},
        {"question": "who", "answer": "you"},
        {"question": "x@acme.io", "answer": "!"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    outcome = run("data", "check", file)
    assert outcome.code == 0
    assert "warning  prompts with different completions: 1" in outcome.out
    assert "'Who?' is answered 'me' and, line 2, 'you'" in outcome.out
    assert "x…@acme.io" in outcome.out
    assert "x@acme.io" not in outcome.out.partition("warning")[2]
    assert outcome.out.count("fix: ") == 2
    assert "training would accept this file; 2 warnings" in outcome.out
    assert "\x1b" not in outcome.out
