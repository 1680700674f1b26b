"""Rows from files. The suffix picks the format; a bad row is yielded, never raised."""

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus.errors import EmptyFileError, MissingFileError, UnknownSuffixError, UnreadableFileError
from corpus.rows import BadRow, Row, parse_json, row_or_bad
from corpus.tables import read_csv, read_parquet, read_tsv

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """Read a file's rows in order.

    Accepted: `.jsonl` and `.ndjson` (one object a line, blank lines skipped), `.json` (a list of objects, or an object
    whose `data` is one), `.csv` and `.tsv` (with a header), `.parquet`. Text is UTF-8, with or without a byte-order
    mark.

    Returns:
        An iterator over good and bad rows; a row that cannot be read does not stop it.

    Raises:
        FileError: The file as a whole cannot be used. Some formats find out only while iterating.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        named = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise UnknownSuffixError(f"{path}: {named} is not a format lorad reads. Accepted: {ACCEPTED}.")
    if path.is_dir():
        raise MissingFileError(f"{path} is a directory; name one file. Accepted: {ACCEPTED}.")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Accepted: {ACCEPTED}.")
    _check_beginning(path)
    return reader(path)


def _check_beginning(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            beginning = stream.read(2)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}.") from error
    if not beginning:
        raise EmptyFileError(f"{path} is empty. Accepted: {ACCEPTED}, with at least one row.")
    if beginning in UTF16_MARKS:
        raise UnreadableFileError(f"{path} is UTF-16; save it as UTF-8.")


def _read_jsonl(path: Path) -> Iterator[Row | BadRow]:
    file = str(path)
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            # Bytes, not text: a text stream would also break lines at a lone carriage return.
            content = raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw
            if content.strip():
                yield _read_line(content, file=file, line=line)


def _read_line(content: bytes, *, file: str, line: int) -> Row | BadRow:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow(file=file, line=line, reason=f"not UTF-8: byte 0x{content[error.start]:02x} at {error.start}")
    try:
        value = parse_json(text)
    except ValueError as error:
        return BadRow(file=file, line=line, reason=str(error))
    return row_or_bad(value, file=file, line=line)


def _read_json(path: Path) -> Iterator[Row | BadRow]:
    try:
        value = parse_json(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x}.") from error
    except ValueError as error:
        hint = " If it holds one object a line, name it .jsonl." if "Extra data" in str(error) else ""
        raise UnreadableFileError(f"{path}: {error}.{hint}") from error
    for number, item in enumerate(_list_of_rows(path, value), start=1):
        yield row_or_bad(item, file=str(path), line=number)


def _list_of_rows(path: Path, value: Any) -> list[Any]:
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise UnreadableFileError(f'{path} must hold a list of objects, or {{"data": [...]}}.')
    return rows


_READERS: dict[str, Callable[[Path], Iterator[Row | BadRow]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
SUFFIXES = tuple(_READERS)
"""Every accepted suffix."""
ACCEPTED = ", ".join(SUFFIXES)
