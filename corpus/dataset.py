"""Files of records: the one way in."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from corpus.columns import BY_NAME, ColumnMapping, Layout, LayoutName, detect
from corpus.conversion import to_record
from corpus.errors import BadRowsError, ColumnsError, NoUsableRowsError, RepeatedFileError, RowError
from corpus.readers import read_rows
from corpus.records import Record
from corpus.rows import BadRow, Row
from corpus.sources import Source

NUM_LAYOUT_ROWS = 100
"""How many readable rows are looked at to learn the column names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One file of a dataset."""

    path: str
    digest: str
    """SHA-256 of the file's bytes, hexadecimal."""
    layout: LayoutName
    num_rows: int
    """All rows of the file, usable or not; blank lines are no rows."""
    weight: float = 1.0
    """How often an epoch draws each of its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The usable records of one or more files, and what was wrong with the rest."""

    files: tuple[DataFile, ...]
    """In the order in which they were named, never empty."""
    records: tuple[Record, ...]
    """File after file, each in file order; never empty."""
    bad: tuple[BadRow, ...]
    """Rows left out, in the same order."""

    @property
    def path(self) -> str:
        """The files' paths, for people."""
        return ", ".join(file.path for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal: of one file its own, of several or weighted ones over their digests and weights."""
        if len(self.files) == 1 and self.files[0].weight == 1:
            return self.files[0].digest
        listing = json.dumps([[file.digest, file.weight] for file in self.files])
        return hashlib.sha256(listing.encode()).hexdigest()

    @property
    def num_rows(self) -> int:
        """All rows of all files, usable or not."""
        return len(self.records) + len(self.bad)


def load(path: Path, columns: ColumnMapping = BY_NAME, skip_bad: bool = False) -> Dataset:
    """Read one file into records; see `load_files`."""
    return load_files([Source(path)], columns, skip_bad)


def load_files(sources: Sequence[Source], columns: ColumnMapping = BY_NAME, skip_bad: bool = False) -> Dataset:
    """Read files into the records of one dataset.

    Args:
        sources: At least one file, each of a format `corpus.readers.read_rows` knows and with a layout of its own.
        columns: Columns named by the user for every file that does not name its own; the others are found by name (see
            `corpus.columns`).
        skip_bad: Leave bad rows out instead of raising.

    Raises:
        FileError: A file cannot be read, or is named twice.
        ColumnsError: The columns of a file cannot be understood.
        BadRowsError: There are bad rows, and `skip_bad` is not set.
        NoUsableRowsError: A file has no usable row, whatever `skip_bad` says.
    """
    _refuse_repeated([source.path for source in sources])
    loaded = [_load_file(source, columns) for source in sources]
    dataset = Dataset(
        files=tuple(file for file, _, _ in loaded),
        records=tuple(chain.from_iterable(records for _, records, _ in loaded)),
        bad=tuple(chain.from_iterable(bad for _, _, bad in loaded)),
    )
    if dataset.bad and not skip_bad:
        raise BadRowsError(dataset.bad)
    return dataset


def _refuse_repeated(paths: Iterable[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path in paths:
        first = seen.get(path.resolve())
        if first is not None:
            same = f"{path} is named twice" if first == path else f"{first} and {path} are the same file"
            raise RepeatedFileError(f"{same}; name it once, with a weight to draw its rows more often.")
        seen[path.resolve()] = path


def _load_file(source: Source, columns: ColumnMapping) -> tuple[DataFile, list[Record], list[BadRow]]:
    path, weight = source.path, source.weight
    read = list(read_rows(path))
    rows = [row for row in read if isinstance(row, Row)]
    bad = [row for row in read if isinstance(row, BadRow)]
    if not rows:
        raise NoUsableRowsError(str(path), bad)
    try:
        layout = detect(_column_names(rows[:NUM_LAYOUT_ROWS]), source.columns or columns)
    except ColumnsError as error:
        raise type(error)(f"{path}: {error}") from error
    records, unusable = _convert(rows, layout, str(path), weight)
    bad = sorted(bad + unusable, key=lambda row: row.line)
    if not records:
        raise NoUsableRowsError(str(path), bad)
    file = DataFile(path=str(path), digest=_digest(path), layout=layout.name, num_rows=len(read), weight=weight)
    return file, records, bad


def _column_names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _convert(rows: Iterable[Row], layout: Layout, file: str, weight: float) -> tuple[list[Record], list[BadRow]]:
    records: list[Record] = []
    bad: list[BadRow] = []
    for row in rows:
        try:
            records.append(replace(to_record(row, layout, file), weight=weight))
        except RowError as error:
            bad.append(BadRow(file=file, line=row.line, reason=str(error)))
    return records, bad


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
