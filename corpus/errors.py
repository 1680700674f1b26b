"""The error tree of this package.

CorpusError
├── FileError                 the file as a whole cannot be used
│   ├── MissingFileError      there is none, or it is a directory
│   ├── UnknownSuffixError    a format that is not read
│   ├── EmptyFileError        no bytes
│   ├── RepeatedFileError     it is named twice for one dataset
│   └── UnreadableFileError   the bytes are not what the suffix says
├── ColumnsError              the rows cannot be understood
│   ├── UnknownLayoutError    no known layout fits the columns
│   ├── MissingColumnError    a mapped column does not exist
│   └── MappingConflictError  a mapping asks for two layouts at once
├── RowError                  one row is bad (turned into a `BadRow` by whoever reads rows)
├── BadRowsError              some rows are bad and nobody asked to skip them
├── NoUsableRowsError         no row is left
└── SplitError                a split or a sample of that size is impossible
"""

from collections.abc import Sequence

from corpus.rows import BadRow

NUM_LISTED_ROWS = 20
"""How many bad rows a message spells out."""


class CorpusError(Exception):
    """Root of everything this package raises on purpose."""


class FileError(CorpusError):
    """The file as a whole cannot be used."""


class MissingFileError(FileError):
    """The path names no file."""


class UnknownSuffixError(FileError):
    """The suffix names a format that is not read."""


class EmptyFileError(FileError):
    """The file has no bytes."""


class RepeatedFileError(FileError):
    """One file is named twice for one dataset."""


class UnreadableFileError(FileError):
    """The bytes are not what the suffix promises."""


class ColumnsError(CorpusError):
    """The columns cannot be understood."""


class UnknownLayoutError(ColumnsError):
    """No known layout fits the columns of the file."""


class MissingColumnError(ColumnsError):
    """A mapped column does not exist."""


class MappingConflictError(ColumnsError):
    """The mapping asks for two layouts at once."""


class RowError(CorpusError):
    """One row cannot become a record; the message is the reason."""


class BadRowsError(CorpusError):
    """Some rows are bad and skipping was not asked for.

    Attributes:
        bad: Every bad row, in file order.
    """

    def __init__(self, bad: Sequence[BadRow]) -> None:
        self.bad = tuple(bad)
        count = f"{len(self.bad)} bad row{'s' if len(self.bad) != 1 else ''}"
        super().__init__(f"{count}:\n{_listing(self.bad)}\nMend the file, or leave these rows out with --skip-bad.")


class NoUsableRowsError(CorpusError):
    """No usable row is left.

    Attributes:
        bad: Every bad row, in file order.
    """

    def __init__(self, path: str, bad: Sequence[BadRow]) -> None:
        self.bad = tuple(bad)
        why = f"all {len(self.bad)} rows are bad:\n{_listing(self.bad)}" if self.bad else "it holds no rows."
        super().__init__(f"{path} has no usable rows: {why}")


class SplitError(CorpusError):
    """A split or a sample of the asked size is impossible."""


def _listing(bad: Sequence[BadRow]) -> str:
    lines = [f"  {row.file}:{row.line}: {row.reason}" for row in bad[:NUM_LISTED_ROWS]]
    if len(bad) > NUM_LISTED_ROWS:
        lines.append(f"  … and {len(bad) - NUM_LISTED_ROWS} more")
    return "\n".join(lines)
