"""A file as its owner sees it, and the names that files may have."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from service.files.errors import InvalidFileError

Purpose = Literal["fine-tune"]
Status = Literal["processed", "error"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""Formats that can be read row by row, whatever the size of the file."""
_ACCEPTED = ", ".join(SUFFIXES)
_MAX_NAME = 255


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file."""

    id: str
    """`file-` and 24 hexadecimal digits."""
    tenant: str
    filename: str
    purpose: Purpose
    bytes: int
    digest: str
    """SHA-256 of its bytes, hexadecimal."""
    created_at: datetime
    status: Status
    """`error`: no row of it can be learnt."""
    status_details: str | None
    """What is wrong with it: the first lines that cannot be used, and the way out."""

    @property
    def suffix(self) -> str:
        """Names the format."""
        return PurePosixPath(self.filename).suffix.lower()


def checked_filename(name: str) -> str:
    """The last part of a client's file name.

    Raises:
        InvalidFileError: it is too long, holds control characters, or its suffix is none that is read.
    """
    last = re.split(r"[/\\]", name)[-1]
    if not last.isprintable() or not 0 < len(last.encode("utf-8", "replace")) <= _MAX_NAME:
        raise InvalidFileError(
            f"a file's name is 1 to {_MAX_NAME} bytes of printable characters, this one is {last[:80]!r}"
        )
    suffix = PurePosixPath(last).suffix.lower()
    if suffix not in SUFFIXES:
        named = f"the suffix {suffix!r}" if suffix else "no suffix"
        way = "; write one object a line and call it .jsonl" if suffix == ".json" else ""
        raise InvalidFileError(f"{last} has {named}, which is not read here. Accepted: {_ACCEPTED}{way}")
    return last
