"""A first look into a file: can rows be learnt from it, and which cannot."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from corpus.columns import Layout, detect
from corpus.conversion import to_record
from corpus.dataset import NUM_LAYOUT_ROWS
from corpus.errors import ColumnsError, CorpusError, RowError
from corpus.readers import read_rows
from corpus.rows import BadRow, Row
from service.files.stored_file import Status

MAX_ROWS = 50_000
"""So many are looked at when a file arrives; a job's preflight looks at all."""
NUM_LISTED = 10


@dataclass(frozen=True)
class Verdict:
    """What a first look has found."""

    status: Status
    details: str | None


def inspect(path: Path, filename: str) -> Verdict:
    """Reads rows one after the other, in little memory, and says what is wrong with them.

    Args:
        path: of the file; its suffix names the format.
        filename: what its owner calls it.
    """
    try:
        return _judged(read_rows(path), filename)
    except ColumnsError as error:
        # The rest of the message is about the command line's flags.
        found = str(error).partition(" Name the columns yourself")[0]
        return Verdict("error", f"{filename}: {found} Rename the columns and send the file again.")
    except CorpusError as error:
        return Verdict("error", str(error).replace(str(path), filename))


def _judged(rows: Iterator[Row | BadRow], filename: str) -> Verdict:
    first = list(islice(rows, NUM_LAYOUT_ROWS))
    readable = [row for row in first if isinstance(row, Row)]
    if not readable:
        bad = [row for row in first if isinstance(row, BadRow)]
        reasons = _listing(bad[:NUM_LISTED], len(bad)) if bad else "it holds no rows"
        return Verdict("error", f"{filename} has no usable row: {reasons}")
    layout = detect(list(dict.fromkeys(name for row in readable for name in row.values)))
    num_rows = num_bad = 0
    bad = []
    for row in islice(_all(first, rows), MAX_ROWS):
        num_rows += 1
        found = _unusable(row, layout, filename)
        if found is not None:
            num_bad += 1
            bad.extend([found] if len(bad) < NUM_LISTED else [])
    if not num_bad:
        return Verdict("processed", None)
    told = f"{num_bad:,} of {num_rows:,} rows cannot be used: {_listing(bad, num_bad)}"
    if num_bad == num_rows:
        return Verdict("error", f"{filename}: {told}")
    return Verdict("processed", f"{told}\nA job over this file fails; mend these rows and send the file again.")


def _all(first: list[Row | BadRow], rest: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    yield from first
    yield from rest


def _unusable(row: Row | BadRow, layout: Layout, filename: str) -> BadRow | None:
    if isinstance(row, BadRow):
        return row
    try:
        to_record(row, layout, filename)
    except RowError as error:
        return BadRow(file=filename, line=row.line, reason=str(error))
    return None


def _listing(bad: list[BadRow], count: int) -> str:
    lines = "".join(f"\n  line {row.line}: {row.reason}" for row in bad)
    return f"{lines}\n  and {count - len(bad):,} more" if count > len(bad) else lines
