"""The three files of an adapter folder, and reading the JSON ones as untrusted input."""

import json
import math
import os
import stat
from collections import Counter
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NoReturn

from adapters.errors import InvalidAdapterError

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MANIFEST: Final = "lorad.json"
RECORD: Final = "registry.json"
"""What the registry knows of a version, beside the three files in an archive."""
ADAPTER_FILES: Final = (CONFIG, WEIGHTS, MANIFEST)
PICKLED_WEIGHTS: Final = "adapter_model.bin"

MAX_JSON_BYTES: Final = 1 << 20
MAX_WEIGHTS_BYTES: Final = 4 << 30

MAX_BYTES: Final = {
    CONFIG: MAX_JSON_BYTES,
    WEIGHTS: MAX_WEIGHTS_BYTES,
    MANIFEST: MAX_JSON_BYTES,
    RECORD: MAX_JSON_BYTES,
}
"""Size limit of each file."""


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """Read a plain file, never through a link and never more than the limit.

    Raises:
        InvalidAdapterError: it is missing, a link or device, unreadable, or too large.
    """
    with open_plain(path, limit_bytes) as file:
        return file.read(limit_bytes)


def open_plain(path: Path, limit_bytes: int) -> BufferedReader:
    """Open a plain file for reading bytes, refusing links, devices and oversize files before any byte is read."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InvalidAdapterError(f"{path.name} is missing: an adapter folder holds {CONFIG} and {WEIGHTS}") from error
    except OSError as error:
        raise InvalidAdapterError(f"{path.name} cannot be read as a plain file ({error.strerror})") from error
    status = os.fstat(descriptor)
    refusal = _refusal(status, limit_bytes)
    if refusal:
        os.close(descriptor)
        raise InvalidAdapterError(f"{path.name} {refusal}")
    return os.fdopen(descriptor, "rb")


def _refusal(status: os.stat_result, limit_bytes: int) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a plain file"
    if status.st_size > limit_bytes:
        return f"has {status.st_size} bytes, more than the limit of {limit_bytes}"
    return ""


def parse_object(text: bytes, name: str) -> dict[str, Any]:
    """Parse strict JSON with an object at the top: no duplicate keys, no NaN or infinity, no lone surrogates.

    Raises:
        InvalidAdapterError: it is anything else; `name` says of which file.
    """
    try:
        parsed = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if b"\\u" in text:
            # Only an escape can bring a lone surrogate, which no database or UTF-8 file takes.
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InvalidAdapterError(f"{name} is not valid JSON: {str(error)[:200]}") from error
    if not isinstance(parsed, dict):
        raise InvalidAdapterError(f"{name} holds a JSON {type(parsed).__name__}, not an object")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice[:80]!r} is given more than once")
    return found


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"number {literal[:40]} is too large")
    return value
