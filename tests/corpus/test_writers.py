import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.dataset import load
from corpus.records import Record
from corpus.writers import write_jsonl


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "a.jsonl",
            '{"question": "é\\u2028", "answer": "你好\\n", "extra": [1, null]}\n{"question": "2", "answer": true}\n',
        ),
        ("a.csv", 'question,answer\n"a\nb",c\n'),
    ],
)
def test_rows_are_written_in_the_layout_they_came_in(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    records = load(path).records
    target = tmp_path / "new" / "out.jsonl"
    write_jsonl(records, target)
    assert [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n")[:-1]] == [
        record.row for record in records
    ]
    assert [record.messages for record in load(target).records] == [record.messages for record in records]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")

    def broken() -> Iterator[Record]:
        yield Record(kind="text", file="f", line=1, row={"text": "x"}, text="x")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_jsonl(broken(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert target.read_text() == "old"


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    write_jsonl([Record(kind="text", file="f", line=1, row={"text": "x"}, text="x")], target)
    assert target.read_text() == '{"text": "x"}\n'
