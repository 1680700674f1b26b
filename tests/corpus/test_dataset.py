import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.columns import ColumnMapping
from corpus.dataset import Dataset, load, load_files
from corpus.errors import (
    BadRowsError,
    MissingColumnError,
    NoUsableRowsError,
    RepeatedFileError,
    UnknownLayoutError,
)
from corpus.records import Record
from corpus.sources import Source

Load = Callable[..., Dataset]
Write = Callable[[str, bytes], Path]
USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}


@pytest.fixture
def load_rows(tmp_path: Path) -> Load:
    def load_them(*rows: dict[str, Any], **options: Any) -> Dataset:
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load(path, **options)

    return load_them


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def spoken(record: Record) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in record.messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "q", "answer": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": "", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": None, "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": "more", "output": "a"}, [("user", "q\n\nmore"), ("assistant", "a")]),
        ({"instruction": "", "input": "more", "output": "a"}, [("user", "more"), ("assistant", "a")]),
        ({"prompt": "q", "completion": " a\n"}, [("user", "q"), ("assistant", " a\n")]),
        ({"prompt": "q", "completion": "a", "system": "s"}, [("system", "s"), ("user", "q"), ("assistant", "a")]),
        ({"prompt": "q", "completion": "a", "system_prompt": " "}, [("user", "q"), ("assistant", "a")]),
        ({"messages": [USER, ASSISTANT]}, [("user", "hi"), ("assistant", "hello")]),
        ({"messages": json.dumps([USER, ASSISTANT])}, [("user", "hi"), ("assistant", "hello")]),
        (
            {"messages": [USER, ASSISTANT], "system": "s"},
            [("system", "s"), ("user", "hi"), ("assistant", "hello")],
        ),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
            [("user", "hi"), ("assistant", "hello")],
        ),
    ],
)
def test_each_layout_becomes_a_chat(load_rows: Load, row: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    (record,) = load_rows(row).records
    assert spoken(record) == expected
    assert record.kind == "chat"
    assert record.row == row
    assert record.completion == expected[-1][1]
    assert spoken(record)[:-1] == [(message["role"], message["content"]) for message in record.prompt_messages]


def test_text_and_label_is_a_chat_with_a_label(load_rows: Load) -> None:
    (record,) = load_rows({"text": "where is my card", "label": "arrival"}).records
    assert spoken(record) == [("user", "where is my card"), ("assistant", "arrival")]
    assert (record.label, record.completion) == ("arrival", "arrival")


def test_text_alone_is_learnt_whole(load_rows: Load) -> None:
    (record,) = load_rows({"text": "once"}).records
    assert (record.kind, record.text, record.completion, record.prompt_messages) == ("text", "once", "once", ())


def test_a_chat_is_kept_untouched(load_rows: Load) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "1"},
        {"role": "assistant", "content": "three"},
    ]
    (record,) = load_rows({"messages": messages, "tools": [{"type": "function"}]}).records
    assert list(record.messages) == messages
    assert record.tools == ({"type": "function"},)
    assert record.prompt == "ab\n\n3"
    assert record.completion == "three"


def test_a_last_message_may_only_call_a_tool(load_rows: Load) -> None:
    (record,) = load_rows({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}]}).records
    assert record.completion == ""


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (2.5, "2.5"), (True, "true"), (False, "false"), (0, "0"), ("x", "x")]
)
def test_numbers_and_truth_values_become_text_in_json_spelling(load_rows: Load, value: Any, text: str) -> None:
    assert load_rows({"prompt": "q", "completion": value}).records[0].completion == text
    assert load_rows({"text": "q", "label": value}).records[0].label == text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": 3, "completion": "a"}, "field 'prompt' must be a string, not a number"),
        ({"prompt": None, "completion": "a"}, "field 'prompt' must be a string, not null"),
        ({"prompt": "q"}, "missing field 'completion'"),
        ({"prompt": "q", "completion": " \n"}, "the completion (field 'completion') is empty"),
        ({"prompt": "q", "completion": None}, "must be text, not null"),
        ({"prompt": "q", "completion": ["a"]}, "must be text, not a list"),
        ({"prompt": "q", "completion": "a", "system": 1}, "field 'system' must be a string"),
    ],
)
def test_a_bad_row_has_its_reason(load_rows: Load, row: dict[str, Any], reason: str) -> None:
    good = {"prompt": "q", "completion": "a"}
    dataset = load_rows(good, row, good, skip_bad=True)
    assert [(bad.line, reason in bad.reason) for bad in dataset.bad] == [(2, True)]
    assert [record.line for record in dataset.records] == [1, 3]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "empty"),
        ("[", "no JSON list"),
        ("3", "must be a list"),
        ('[{"role": "user", "content": "\\ud800"}]', "surrogate"),
        ([USER], "must be by the assistant"),
        ([{"role": "wizard", "content": "x"}, ASSISTANT], "unknown role 'wizard'"),
        ([{"content": "x"}, ASSISTANT], "unknown role None"),
        (["hi"], "message 1 must be an object"),
        ([{"role": "user", "content": 3}, ASSISTANT], "content must be a string or a list"),
        ([{"role": "user", "content": None}, ASSISTANT], "message 1 has no content"),
        ([{"role": "user"}, ASSISTANT], "message 1 has no content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT], "must be text, not 'image_url'"),
        ([{"role": "user", "content": ["hi"]}, ASSISTANT], "must be text"),
        ([USER, {"role": "assistant", "content": "x", "tool_calls": "f()"}], "tool_calls must be a list"),
        ([USER, {"role": "assistant", "content": " "}], "the completion (the last message) is empty"),
        ([USER, {"role": "assistant", "content": None, "tool_calls": []}], "has no content"),
    ],
)
def test_malformed_messages_are_bad_rows(load_rows: Load, messages: Any, reason: str) -> None:
    dataset = load_rows({"messages": [USER, ASSISTANT]}, {"messages": messages}, skip_bad=True)
    assert [(bad.line, reason in bad.reason) for bad in dataset.bad] == [(2, True)]


def test_two_different_system_messages_are_a_bad_row(load_rows: Load) -> None:
    chat = [{"role": "system", "content": "one"}, USER, ASSISTANT]
    dataset = load_rows({"messages": chat, "system": "one"}, {"messages": chat, "system": "two"}, skip_bad=True)
    assert [record.line for record in dataset.records] == [1]
    assert len(dataset.records[0].messages) == 3


def test_bad_rows_are_refused_unless_skipping_was_asked_for(load_rows: Load) -> None:
    rows = [{"text": "x"}, *[{"text": ""}] * 25]
    with pytest.raises(BadRowsError) as caught:
        load_rows(*rows)
    message = str(caught.value)
    assert len(caught.value.bad) == 25
    assert "a.jsonl:2: the text (field 'text') is empty" in message
    assert "a.jsonl:21:" in message
    assert "a.jsonl:22:" not in message
    assert "and 5 more" in message
    assert "--skip-bad" in message
    dataset = load_rows(*rows, skip_bad=True)
    assert (dataset.num_rows, len(dataset.records), len(dataset.bad)) == (26, 1, 25)


def test_rows_broken_in_the_file_and_rows_broken_in_meaning_are_listed_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n{"text": ""}\nnot json\n{"text": 1}\n')
    assert [bad.line for bad in load(path, skip_bad=True).bad] == [2, 3, 4]


@pytest.mark.parametrize("content", ['{"text": " "}\n', "nonsense\n"])
def test_no_usable_row_is_an_error_even_when_skipping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(NoUsableRowsError, match=r"a\.jsonl:1: ") as caught:
        load(path, skip_bad=True)
    assert len(caught.value.bad) == 1


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "text\n")])
def test_a_file_without_rows_says_so(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(NoUsableRowsError, match="holds no rows"):
        load(path)


def test_empty_prompts_are_kept(load_rows: Load) -> None:
    rows = [{"question": question, "answer": "a"} for question in ("", "q", "  ")]
    assert len(load_rows(*rows).records) == 3


def test_columns_are_matched_without_case_in_every_row(load_rows: Load) -> None:
    dataset = load_rows({"Question": "1", "Answer": "a"}, {"question": "2", "ANSWER": "b"})
    assert [record.completion for record in dataset.records] == ["a", "b"]


def test_mapped_columns_are_used(load_rows: Load) -> None:
    dataset = load_rows({"frage": "q", "antwort": "a"}, columns=ColumnMapping(prompt="frage", completion="antwort"))
    assert (dataset.records[0].prompt, dataset.records[0].completion) == ("q", "a")
    with pytest.raises(UnknownLayoutError):
        load_rows({"frage": "q", "antwort": "a"})


def test_the_digest_is_of_the_bytes(load_rows: Load) -> None:
    dataset = load_rows({"text": "x"})
    assert dataset.digest == hashlib.sha256(Path(dataset.path).read_bytes()).hexdigest()


def test_csv_and_json_lines_give_the_same_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\nq,"a, b"\n')
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a, b"}\n')
    first, second = (load(tmp_path / name).records[0] for name in ("a.csv", "a.jsonl"))
    assert first.messages == second.messages
    assert (first.line, second.line) == (2, 1)


def test_files_of_any_format_and_layout_make_one_dataset(write: Write) -> None:
    first = write("a.jsonl", b'{"question": "q1", "answer": "a1"}\n\n{"question": "q2", "answer": "a2"}\n')
    second = write("b.csv", b"text,label\nt1,l1\n")
    third = write("c.json", b'[{"text": "whole"}]')
    found = load_files([Source(first), Source(second, 2), Source(third, 0.5)])
    assert [(Path(record.file).name, record.line, record.weight) for record in found.records] == [
        ("a.jsonl", 1, 1), ("a.jsonl", 3, 1), ("b.csv", 2, 2), ("c.json", 1, 0.5),
    ]  # fmt: skip
    assert [(file.layout, file.num_rows, file.weight) for file in found.files] == [
        ("question/answer", 2, 1), ("text+label", 1, 2), ("text", 1, 0.5),
    ]  # fmt: skip
    assert (found.num_rows, found.path) == (4, f"{first}, {second}, {third}")


def test_the_digest_of_several_files_covers_bytes_weights_and_order(write: Write) -> None:
    first, second = (
        write(name, b'{"question": "q", "answer": "%s"}\n' % name.encode()) for name in ("a.jsonl", "b.jsonl")
    )

    def digest(*sources: Source) -> str:
        return load_files(sources).digest

    digests = [
        digest(Source(first)),
        digest(Source(first, 2)),
        digest(Source(first), Source(second)),
        digest(Source(second), Source(first)),
        digest(Source(first), Source(second, 2)),
    ]
    assert len(set(digests)) == 5
    assert digests[0] == hashlib.sha256(first.read_bytes()).hexdigest()
    second.rename(second.with_name("c.jsonl"))
    assert digest(Source(first), Source(second.with_name("c.jsonl"))) == digests[2]
    second.with_name("c.jsonl").write_bytes(b'{"question": "q", "answer": "other"}\n')
    assert digest(Source(first), Source(second.with_name("c.jsonl"))) != digests[2]


def test_one_file_under_two_names_is_refused(write: Write, tmp_path: Path) -> None:
    file = write("a.jsonl", b'{"question": "q", "answer": "a"}\n')
    (tmp_path / "link.jsonl").symlink_to(file)
    with pytest.raises(RepeatedFileError, match=r"a\.jsonl is named twice; name it once, with a weight"):
        load_files([Source(file), Source(file, 2)])
    with pytest.raises(RepeatedFileError, match=r"a\.jsonl and .*link\.jsonl are the same file"):
        load_files([Source(file), Source(tmp_path / "link.jsonl")])


def test_faults_of_several_files_are_told_by_file(write: Write) -> None:
    good = write("a.jsonl", b'{"question": "q", "answer": "a"}\n{"question": "q"}\n')
    bad = write("b.jsonl", b'{"question": "q", "answer": "a"}\n{"question": "q", "answer": ""}\n')
    with pytest.raises(BadRowsError) as caught:
        load_files([Source(good), Source(bad)])
    assert [(Path(row.file).name, row.line) for row in caught.value.bad] == [("a.jsonl", 2), ("b.jsonl", 2)]
    odd = write("c.jsonl", b'{"ask": "q", "say": "a"}\n')
    with pytest.raises(UnknownLayoutError, match=r"c\.jsonl: No known layout"):
        load_files([Source(good), Source(odd)], skip_bad=True)


def test_a_file_may_name_its_own_columns(write: Write) -> None:
    usual = write("a.jsonl", b'{"question": "q", "answer": "a"}\n')
    odd = write("b.jsonl", b'{"ask": "q", "say": "a"}\n')
    own = ColumnMapping(prompt="ask", completion="say")
    found = load_files([Source(usual), Source(odd, columns=own)])
    assert [record.completion for record in found.records] == ["a", "a"]
    with pytest.raises(MissingColumnError, match=r"a\.jsonl: There is no column 'ask'"):
        load_files([Source(usual), Source(odd)], columns=own)
