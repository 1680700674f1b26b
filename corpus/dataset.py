"""A file of records: the one way in."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from corpus.columns import BY_NAME, ColumnMapping, Layout, detect
from corpus.conversion import to_record
from corpus.errors import BadRowsError, NoUsableRowsError, RowError
from corpus.readers import read_rows
from corpus.records import Record
from corpus.rows import BadRow, Row

NUM_LAYOUT_ROWS = 100
"""How many readable rows are looked at to learn the column names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The usable records of one file, and what was wrong with the rest."""

    path: str
    digest: str
    """SHA-256 of the file's bytes, hexadecimal."""
    layout: Layout
    records: tuple[Record, ...]
    """In file order, never empty."""
    bad: tuple[BadRow, ...]
    """Rows left out, in file order."""

    @property
    def num_rows(self) -> int:
        """All rows of the file, usable or not; blank lines are no rows."""
        return len(self.records) + len(self.bad)


def load(path: Path, columns: ColumnMapping = BY_NAME, skip_bad: bool = False) -> Dataset:
    """Read a file into records.

    Args:
        path: A file of a format `corpus.readers.read_rows` knows.
        columns: Columns named by the user; the others are found by name (see `corpus.columns`).
        skip_bad: Leave bad rows out instead of raising.

    Raises:
        FileError: The file cannot be read.
        ColumnsError: The columns cannot be understood.
        BadRowsError: There are bad rows, and `skip_bad` is not set.
        NoUsableRowsError: There is no usable row, whatever `skip_bad` says.
    """
    read = list(read_rows(path))
    rows = [row for row in read if isinstance(row, Row)]
    bad = [row for row in read if isinstance(row, BadRow)]
    if not rows:
        raise NoUsableRowsError(str(path), bad)
    layout = detect(_column_names(rows[:NUM_LAYOUT_ROWS]), columns)
    records, unusable = _convert(rows, layout, str(path))
    bad = sorted(bad + unusable, key=lambda row: row.line)
    if not records:
        raise NoUsableRowsError(str(path), bad)
    if bad and not skip_bad:
        raise BadRowsError(bad)
    return Dataset(
        path=str(path),
        digest=_digest(path),
        layout=layout,
        records=tuple(records),
        bad=tuple(bad),
    )


def _column_names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _convert(rows: Iterable[Row], layout: Layout, file: str) -> tuple[list[Record], list[BadRow]]:
    records: list[Record] = []
    bad: list[BadRow] = []
    for row in rows:
        try:
            records.append(to_record(row, layout, file))
        except RowError as error:
            bad.append(BadRow(file=file, line=row.line, reason=str(error)))
    return records, bad


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
