"""A safetensors file written tensor by tensor, so that a model larger than the memory can be exported."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_ALIGNMENT_BYTES = 8


@dataclass(frozen=True)
class Entry:
    """One tensor to be written."""

    name: str
    dtype_name: str
    """As safetensors writes it."""
    shape: tuple[int, ...]
    num_bytes: int


def write_tensors(path: Path, entries: Sequence[Entry], read: Callable[[Entry], Tensor]) -> None:
    """Write one file; `read` is asked for one tensor at a time, in the order of `entries`."""
    header = _header(entries)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for entry in entries:
            tensor = read(entry)
            assert tuple(tensor.shape) == entry.shape, entry.name
            assert tensor.nbytes == entry.num_bytes, entry.name
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


def _header(entries: Sequence[Entry]) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        start, end = end, end + entry.num_bytes
        content[entry.name] = {"dtype": entry.dtype_name, "shape": list(entry.shape), "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT_BYTES)
