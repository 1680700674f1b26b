"""Reading a safetensors header without trusting it, before anything is allocated.

Format: 8 bytes little-endian length, a JSON object of `name: {dtype, shape, data_offsets}`, then the tensors' bytes.
Every limit is checked on the raw bytes first, so that a hostile header costs no more than one scan.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.errors import InvalidAdapterError
from adapters.files import MAX_WEIGHTS_BYTES, WEIGHTS, open_plain, parse_object

ITEM_BYTES: Final[Mapping[str, int]] = {"F32": 4, "F16": 2, "BF16": 2}
_MAX_HEADER_BYTES = 16 << 20
_MAX_ENTRIES = 100_000
_MAX_DIMENSIONS = 4
_MAX_EXTENT = 1 << 24


@dataclass(frozen=True, kw_only=True)
class HeaderLimits:
    """What is refused unread."""

    file_bytes: int = MAX_WEIGHTS_BYTES
    header_bytes: int = _MAX_HEADER_BYTES
    entries: int = _MAX_ENTRIES


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path, limits: HeaderLimits | None = None) -> dict[str, TensorInfo]:
    """Describe every tensor of a safetensors file by name.

    Raises:
        InvalidAdapterError: the file breaks a limit or the format; the message names the tensor, value and limit.
    """
    limits = limits or HeaderLimits()
    with open_plain(path, limits.file_bytes) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(_exactly(file.read(8), 8), "little")
        if not 2 <= header_bytes <= min(limits.header_bytes, size_bytes - 8):
            raise _invalid(
                f"its header claims {header_bytes} bytes; the file has {size_bytes}, the limit is {limits.header_bytes}"
            )
        raw = _exactly(file.read(header_bytes), header_bytes)
    _refuse_many(raw, limits.entries)
    entries = parse_object(raw, f"header of {WEIGHTS}")
    _check_metadata(entries.pop("__metadata__", {}))
    spans = {name: _entry(name, value) for name, value in entries.items()}
    _check_layout(spans, size_bytes - 8 - header_bytes)
    return {name: info for name, (info, _, _) in spans.items()}


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise _invalid("the file ends inside its header: it was cut short")
    return data


def _refuse_many(raw: bytes, limit: int) -> None:
    """Bound the work of parsing: every tensor opens one object and two lists, whatever its name contains."""
    for bracket, allowed in ((b"{", limit + 2), (b"[", 2 * limit), (b",", 16 * limit + 1024)):
        if raw.count(bracket) > allowed:
            raise _invalid(f"its header describes more than {limit} tensors, which no adapter for this base has")


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("__metadata__ is not an object of texts")


def _entry(name: str, value: Any) -> tuple[TensorInfo, int, int]:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"tensor {name[:120]!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _invalid(
            f"tensor {name[:120]!r} has dtype {str(dtype)[:40]!r}, but only {', '.join(ITEM_BYTES)} are read"
        )
    if not _integers(shape, 1, _MAX_EXTENT) or not 1 <= len(shape) <= _MAX_DIMENSIONS:
        raise _invalid(
            f"tensor {name[:120]!r} has shape {str(shape)[:80]}, not 1 to {_MAX_DIMENSIONS} extents in 1..{_MAX_EXTENT}"
        )
    if not _integers(offsets, 0, MAX_WEIGHTS_BYTES) or len(offsets) != 2:
        raise _invalid(f"tensor {name[:120]!r} has data_offsets {str(offsets)[:80]}, not a start and an end")
    begin, end = offsets
    expected = math.prod(shape) * ITEM_BYTES[dtype]
    if end - begin != expected:
        raise _invalid(f"tensor {name[:120]!r} has {end - begin} bytes, but {dtype} {tuple(shape)} takes {expected}")
    return TensorInfo(name, dtype, tuple(shape)), begin, end


def _integers(value: Any, low: int, high: int) -> bool:
    # type(), not isinstance(): true is an int to Python.
    return isinstance(value, list) and all(type(item) is int and low <= item <= high for item in value)


def _check_layout(spans: Mapping[str, tuple[TensorInfo, int, int]], data_bytes: int) -> None:
    """Tensors follow each other without gap or overlap and fill the file."""
    position = 0
    for info, begin, end in sorted(spans.values(), key=lambda span: span[1:]):
        if begin != position:
            raise _invalid(f"tensor {info.name[:120]!r} begins at byte {begin}, but the one before ends at {position}")
        position = end
    if position != data_bytes:
        raise _invalid(
            f"its tensors take {position} bytes, but {data_bytes} follow the header: cut short, or something added"
        )


def _invalid(reason: str) -> InvalidAdapterError:
    return InvalidAdapterError(f"{WEIGHTS}: {reason}")
