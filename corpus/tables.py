"""Readers of tables: comma- or tab-separated text, and Parquet."""

import base64
import csv
import datetime
import decimal
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.errors import UnreadableFileError
from corpus.rows import BadRow, Row, row_or_bad

MAX_FIELD_CHARACTERS = 16 * 2**20
PARQUET_BATCH_ROWS = 1000


def read_csv(path: Path) -> Iterator[Row | BadRow]:
    """Read comma-separated rows; the first line names the columns."""
    return _read_delimited(path, ",")


def read_tsv(path: Path) -> Iterator[Row | BadRow]:
    """Read tab-separated rows; the first line names the columns."""
    return _read_delimited(path, "\t")


def _read_delimited(path: Path, delimiter: str) -> Iterator[Row | BadRow]:
    # The limit belongs to the process and is only ever raised: the default of 128 KiB refuses long documents.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    file = str(path)
    # surrogateescape carries bytes that are not UTF-8 to the row they stand in, which is then a bad row.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        fields = _numbered_fields(csv.reader(stream, delimiter=delimiter, strict=True))
        header = _header(path, fields)
        for line, values in fields:
            if isinstance(values, str):
                yield BadRow(file=file, line=line, reason=values)
            elif len(values) != len(header):
                reason = f"{len(values)} fields where the header has {len(header)}"
                yield BadRow(file=file, line=line, reason=reason)
            else:
                yield _text_row(dict(zip(header, values, strict=True)), file=file, line=line)


def _numbered_fields(reader: Any) -> Iterator[tuple[int, list[str] | str]]:
    """Yield (line the row starts at, its fields or the reason it has none); blank lines are left out."""
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"malformed row: {error}"
            continue
        if values:
            yield line, values


def _header(path: Path, fields: Iterator[tuple[int, list[str] | str]]) -> list[str]:
    _, names = next(fields, (0, "there is none"))
    if isinstance(names, str):
        raise UnreadableFileError(f"{path} has no usable header line: {names}.")
    if not _is_text(names):
        raise UnreadableFileError(f"{path} has a header line that is not UTF-8.")
    _check_unique(path, names)
    return names


def _check_unique(path: Path, names: list[str]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UnreadableFileError(f"{path} names the column {min(repeated)!r} more than once.")


def _text_row(values: dict[str, Any], *, file: str, line: int) -> Row | BadRow:
    if _is_text(list(values.values())):
        return Row(line=line, values=values)
    return BadRow(file=file, line=line, reason="not UTF-8")


def _is_text(values: list[str]) -> bool:
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_parquet(path: Path) -> Iterator[Row | BadRow]:
    """Read Parquet rows; `line` is the 1-based row number.

    Dates become ISO 8601 text, decimals text, bytes base64 text; a float NaN, which pandas writes for a missing value,
    becomes null.
    """
    line = 0
    try:
        with pq.ParquetFile(path) as table:
            _check_unique(path, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for index in range(batch.num_rows):
                    line += 1
                    yield _parquet_row(batch, index, file=str(path), line=line)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column name that is not UTF-8
        raise UnreadableFileError(f"{path} is not readable Parquet: {error}") from error


def _parquet_row(batch: Any, index: int, *, file: str, line: int) -> Row | BadRow:
    try:
        values = {name: _plain(batch.column(i)[index].as_py()) for i, name in enumerate(batch.schema.names)}
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a time Python cannot hold
        return BadRow(file=file, line=line, reason=f"a value cannot be read: {error}")
    return row_or_bad(values, file=file, line=line)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise ValueError(f"values of type {type(value).__name__} are not supported")
