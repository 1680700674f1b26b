"""Preference pairs in the shapes that TRL documents."""

import json
from pathlib import Path
from typing import Any

import pytest

from corpus.dataset import load
from corpus.errors import BadRowsError
from corpus.normalise import row_key
from corpus.row_findings import whole_text

USER = {"role": "user", "content": "Where?"}
HERE = {"role": "assistant", "content": "Here."}
NO = {"role": "assistant", "content": "No."}


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Where?", "chosen": "Here.", "rejected": "No."},
        {"question": "Where?", "chosen": "Here.", "rejected": "No."},
        {"prompt": [USER], "chosen": [HERE], "rejected": [NO]},
        {"messages": [USER], "chosen": HERE, "rejected": NO},
        {"messages": [USER], "chosen": "Here.", "rejected": "No."},
        {"chosen": [USER, HERE], "rejected": [USER, NO]},
        {"prompt": [USER], "chosen": [USER, HERE], "rejected": [USER, NO]},
    ],
)
def test_every_shape_is_a_prompt_and_two_answers(tmp_path: Path, row: dict[str, Any]) -> None:
    (record,) = load(written(tmp_path, row)).records
    assert record.messages == (USER, HERE)
    assert record.rejected_messages == (USER, NO)


def test_a_system_message_and_tools_stand_on_both_sides(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "prompt": "Where?", "chosen": "Here.", "rejected": "No.", "tools": [{"name": "map"}]}
    (record,) = load(written(tmp_path, row)).records
    assert record.messages[0] == record.rejected_messages[0] == {"role": "system", "content": "Be brief."}
    assert record.tools == ({"name": "map"},)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "b"}, "missing field 'rejected'"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, r"the answer \(field 'rejected'\) is empty"),
        ({"prompt": "a", "chosen": 3, "rejected": "c"}, "field 'chosen' must be text or messages, not a number"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the same answer"),
        ({"prompt": [HERE], "chosen": "b", "rejected": "c"}, "must not end with a message by the assistant"),
        ({"prompt": [], "chosen": "b", "rejected": "c"}, "holds no message"),
        ({"prompt": "a", "chosen": [USER], "rejected": "c"}, "the last message must be by the assistant"),
        ({"prompt": [USER], "chosen": [HERE, USER, NO], "rejected": "c"}, "share every message but the last"),
    ],
)
def test_a_bad_pair_is_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = written(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"}, row)
    with pytest.raises(BadRowsError, match=reason) as caught:
        load(path)
    assert [(bad.file, bad.line) for bad in caught.value.bad] == [(str(path), 2)]


def test_without_a_prompt_an_answer_answers_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, {"chosen": [USER, HERE], "rejected": [USER, NO]}, {"chosen": "b", "rejected": "c"})
    with pytest.raises(BadRowsError, match="answers nothing"):
        load(path)


def test_the_rejected_answer_belongs_to_the_row(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": other} for other in ("c", "d")]
    first, second = load(written(tmp_path, *rows)).records
    assert row_key(first) != row_key(second)
    assert whole_text(second).endswith("d")
