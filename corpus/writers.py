"""Records and rows back to files."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corpus.records import Record


def write_jsonl(records: Iterable[Record], path: Path) -> None:
    """Write records as JSON Lines, each in the layout it was read in; see `write_rows`."""
    write_rows((record.row for record in records), path)


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows as JSON Lines.

    The file appears whole or not at all: it is written beside its final place, flushed to disk and renamed. A file
    already there is replaced; missing parent folders are made.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as stream:
        try:
            for row in rows:
                stream.write(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            os.chmod(stream.name, 0o644)  # a temporary file is private; a data file is not
            os.replace(stream.name, path)
        except BaseException:
            os.unlink(stream.name)
            raise
