"""Raw rows: what a reader yields before anybody asks what the columns mean."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One readable row."""

    line: int
    """1-based line in the file (JSONL, CSV: where the row starts) or row number (JSON, Parquet)."""
    values: dict[str, Any]
    """Column name to value; only JSON types, finite numbers and well-formed text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """One row that cannot be used."""

    file: str
    line: int
    """1-based, counted as in `Row.line`."""
    reason: str


def parse_json(text: str) -> Any:
    """Parse JSON text.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply; the message is a reason for a reader.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except RecursionError:
        raise ValueError("invalid JSON: nested too deeply") from None


def defect(value: Any) -> str | None:
    """Say why a parsed value could not be written back as strict UTF-8 JSON, or None if it could.

    Python's parser accepts NaN, Infinity and escaped lone surrogates; tokenizers and other JSON readers do not.
    """
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return "text with a lone surrogate (half of a UTF-16 pair)"
    except ValueError:
        return "a number that is NaN or infinite"
    except RecursionError:
        return "nested too deeply"
    return None


def row_or_bad(value: Any, *, file: str, line: int) -> Row | BadRow:
    """Take a parsed value as a row if it is an object without defects."""
    if not isinstance(value, dict):
        return BadRow(file=file, line=line, reason=f"a row must be a JSON object, not {json_type(value)}")
    reason = defect(value)
    return Row(line=line, values=value) if reason is None else BadRow(file=file, line=line, reason=reason)


def json_type(value: Any) -> str:
    """Name a value's JSON type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list | tuple) else "an object"
