import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import CorpusError, EmptyFileError, MissingFileError, UnknownSuffixError, UnreadableFileError
from corpus.readers import SUFFIXES, read_rows
from corpus.rows import BadRow, Row

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def good(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = list(read_rows(path))
    assert all(isinstance(row, Row) for row in rows), rows
    return [(row.line, row.values) for row in rows if isinstance(row, Row)]


def bad(path: Path) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in read_rows(path) if isinstance(row, BadRow)]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "JSONL"])
def test_json_lines_are_numbered_as_in_the_file_and_blank_lines_skipped(write: Write, suffix: str) -> None:
    path = write(f"a.{suffix}", b'{"a": 1}\n\n  \r\n{"a": "\xc3\xa9"}\r\n{"a": 3}')
    assert good(path) == [(1, {"a": 1}), (4, {"a": "é"}), (5, {"a": 3})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"a": "b"}\n'),
        ("a.json", b'[{"a": "b"}]'),
        ("a.json", b'{"data": [{"a": "b"}]}'),
        ("a.csv", b"a\nb\n"),
        ("a.tsv", b"a\nb\n"),
    ],
)
def test_a_byte_order_mark_changes_nothing(write: Write, name: str, content: bytes) -> None:
    expected = [value for _, value in good(write(name, content))]
    assert [value for _, value in good(write(name, b"\xef\xbb\xbf" + content))] == expected == [{"a": "b"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": ', "invalid JSON"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at 7"),
        (b"[1]", "a row must be a JSON object, not a list"),
        (b'"text"', "a row must be a JSON object, not a string"),
        (b"null", "a row must be a JSON object, not null"),
        (b'{"a": NaN}', "NaN or infinite"),
        (b'{"a": [-Infinity]}', "NaN or infinite"),
        (b'{"a": 1e999}', "NaN or infinite"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_a_bad_json_line_has_a_reason_and_does_not_stop_the_others(write: Write, line: bytes, reason: str) -> None:
    path = write("a.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    first, second, third = read_rows(path)
    assert isinstance(first, Row)
    assert isinstance(second, BadRow)
    assert isinstance(third, Row)
    assert (second.file, second.line) == (str(path), 2)
    assert reason in second.reason


def test_a_surrogate_pair_is_one_good_character(write: Write) -> None:
    assert good(write("a.jsonl", b'{"a": "\\ud83d\\ude00"}')) == [(1, {"a": "\U0001f600"})]


def test_json_rows_are_numbered_by_position_and_checked_one_by_one(write: Write) -> None:
    path = write("a.json", b'[{"a": 1},\n\n 2, {"a": NaN},\n{"a": 4}]')
    assert [(row.line, type(row)) for row in read_rows(path)] == [(1, Row), (2, BadRow), (3, BadRow), (4, Row)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "must hold a list of objects"),
        (b'{"data": 3}', "must hold a list of objects"),
        (b"[", "invalid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1}\n{"a": 2}\n', "name it .jsonl"),
        (b'["\xff"]', "not UTF-8"),
    ],
)
def test_a_json_file_that_is_no_list_says_what_is_wrong(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(UnreadableFileError, match=message):
        list(read_rows(write("a.json", content)))


def test_a_csv_row_has_the_line_it_starts_at(write: Write) -> None:
    path = write("a.csv", b'q,a\r\n"one\nand\nmore",1\r\n\r\n"two, ""quoted""",2\n')
    assert good(path) == [(2, {"q": "one\nand\nmore", "a": "1"}), (6, {"q": 'two, "quoted"', "a": "2"})]


def test_a_tsv_keeps_commas(write: Write) -> None:
    assert good(write("a.tsv", b"q\ta\nx,y\tz\n")) == [(2, {"q": "x,y", "a": "z"})]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "1 fields where the header has 2"),
        (b"1,2,3", "3 fields where the header has 2"),
        (b"\xff,2", "not UTF-8"),
        (b'"a"b,2', "malformed row"),
    ],
)
def test_a_bad_csv_row_has_a_reason_and_does_not_stop_the_others(write: Write, row: bytes, reason: str) -> None:
    path = write("a.csv", b"q,a\n" + row + b"\n3,4\n")
    first, second = read_rows(path)
    assert isinstance(first, BadRow)
    assert first.line == 2
    assert reason in first.reason
    assert second == Row(line=3, values={"q": "3", "a": "4"})


def test_an_open_quote_at_the_end_of_a_csv_is_a_bad_row_where_it_starts(write: Write) -> None:
    assert bad(write("a.csv", b'q,a\n1,2\n"never closed,3\n4,5\n')) == [
        (3, "malformed row: unexpected end of data"),
    ]


def test_a_csv_field_may_be_long(write: Write) -> None:
    text = "x" * 300_000
    assert good(write("a.csv", b"text\n" + text.encode())) == [(2, {"text": text})]


@pytest.mark.parametrize(
    ("header", "message"),
    [(b"a,b,a\n1,2,3", "column 'a' more than once"), (b"\xffa,b\n1,2", "not UTF-8"), (b"\n\n", "no usable header")],
)
def test_a_csv_needs_a_usable_header(write: Write, header: bytes, message: str) -> None:
    with pytest.raises(UnreadableFileError, match=message):
        list(read_rows(write("a.csv", header)))


def test_parquet_rows_are_numbered_and_hold_json_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    day = datetime.date(2024, 2, 3)
    rows = [{"q": "é", "n": float("nan"), "day": day, "raw": b"\x00", "m": [{"role": "user", "x": None}]}, {"q": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert good(path) == [
        (1, {"q": "é", "n": None, "day": "2024-02-03", "raw": "AA==", "m": [{"role": "user", "x": None}]}),
        (2, {"q": None, "n": None, "day": None, "raw": None, "m": None}),
    ]
    json.dumps([row for _, row in good(path)], allow_nan=False)


def test_parquet_rows_that_cannot_be_read_are_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    not_text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"], pa.binary()).buffers())
    pq.write_table(pa.table({"q": not_text, "x": [1.0, 2.0]}), path)
    assert [(row.line, type(row)) for row in read_rows(path)] == [(1, BadRow), (2, Row)]


def test_an_infinite_number_in_parquet_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [float("inf"), 1.0]}), path)
    assert bad(path) == [(1, "a number that is NaN or infinite")]


def test_a_file_that_is_not_parquet_says_so(write: Write) -> None:
    with pytest.raises(UnreadableFileError, match="not readable Parquet"):
        list(read_rows(write("a.parquet", b"hello")))


def test_a_parquet_file_needs_usable_column_names(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"completion": ["x"]}), path)
    path.write_bytes(path.read_bytes().replace(b"completion", b"complet\xffon"))
    with pytest.raises(UnreadableFileError, match="not readable Parquet"):
        list(read_rows(path))
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"]), path)
    with pytest.raises(UnreadableFileError, match="column 'a' more than once"):
        list(read_rows(path))


@pytest.mark.parametrize(("name", "named"), [("a.xlsx", "'.xlsx'"), ("a", "no suffix"), ("a.jsonl.gz", "'.gz'")])
def test_an_unknown_suffix_names_it_and_the_accepted_ones(write: Write, name: str, named: str) -> None:
    with pytest.raises(UnknownSuffixError) as caught:
        read_rows(write(name, b"x"))
    assert named in str(caught.value)
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)


def test_missing_files_directories_and_empty_files_are_told_apart(tmp_path: Path, write: Write) -> None:
    with pytest.raises(MissingFileError, match=r"none\.jsonl does not exist.*\.parquet"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(MissingFileError, match=r"folder\.jsonl is a directory.*\.parquet"):
        read_rows(tmp_path / "folder.jsonl")
    with pytest.raises(EmptyFileError, match=r"empty\.csv is empty.*\.parquet"):
        read_rows(write("empty.csv", b""))
    with pytest.raises(UnreadableFileError, match="UTF-16"):
        read_rows(write("wide.jsonl", '{"a": 1}'.encode("utf-16")))


TEXTS = st.sampled_from([suffix for suffix in SUFFIXES if suffix != ".parquet"])
BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet='{}[]",:\n\r\t\\u d8naN1e\ufeff\x00é', max_size=100).map(str.encode),
)


@given(content=BYTES, suffix=TEXTS)
def test_any_bytes_give_rows_bad_rows_or_an_error_of_ours(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(content)
        try:
            rows = list(read_rows(path))
        except CorpusError:
            return
    num_lines = content.count(b"\n") + content.count(b"\r") + 1
    lines = [row.line for row in rows]
    assert lines == sorted(set(lines))
    assert suffix == ".json" or all(1 <= line <= num_lines for line in lines)
    for row in rows:
        if isinstance(row, Row):
            json.dumps(row.values, allow_nan=False, ensure_ascii=False).encode()


OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8")),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(codec="utf-8"))),
)


@given(rows=st.lists(OBJECTS, min_size=1), mark=st.booleans(), escape=st.booleans())
def test_json_lines_come_back_as_they_were_written(rows: list[dict[str, Any]], mark: bool, escape: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        text = "\n".join(json.dumps(row, ensure_ascii=escape) for row in rows)
        path.write_text(text, encoding="utf-8-sig" if mark else "utf-8", newline="")
        assert good(path) == list(enumerate(rows, start=1))
