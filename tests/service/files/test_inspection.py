from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.files.inspection import inspect


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".jsonl", b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'),
        (".csv", b"instruction,output\na,b\n"),
        (".tsv", b"question\tanswer\na\tb\n"),
    ],
)
def test_good_files_of_every_format(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    assert inspect(path, "mine").status == "processed"


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "completion": ["b"]}), path)
    assert inspect(path, "mine.parquet").status == "processed"


def test_bad_rows_are_named_by_line_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\nnonsense\n{"prompt": "c"}\n')
    verdict = inspect(path, "mine.jsonl")
    assert verdict.status == "processed"
    assert verdict.details is not None
    assert "2 of 3 rows" in verdict.details
    assert "line 2:" in verdict.details
    assert "line 3:" in verdict.details
    assert "send the file again" in verdict.details


def test_many_bad_rows_are_counted_and_the_first_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' + b"nonsense\n" * 30)
    details = inspect(path, "mine.jsonl").details
    assert details is not None
    assert "line 11:" in details
    assert "line 12:" not in details
    assert "and 20 more" in details


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("rows.jsonl", b"nonsense\n", "line 1"),
        ("rows.jsonl", b"\n\n", "no rows"),
        ("rows.jsonl", b'{"prompt": "a"}\n', "prompt"),
        ("rows.csv", b"", "empty"),
        ("rows.parquet", b"PAR1 but not really", "Parquet"),
        ("rows.jsonl", '{"prompt": "a"}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_without_a_usable_row_is_in_error(tmp_path: Path, name: str, content: bytes, named: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    verdict = inspect(path, f"mine-{name}")
    assert verdict.status == "error"
    assert verdict.details is not None
    assert named in verdict.details
    assert str(tmp_path) not in verdict.details
    assert f"mine-{name}" in verdict.details
    assert "--" not in verdict.details
