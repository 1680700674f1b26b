import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from adapters.errors import InvalidAdapterError
from adapters.header import HeaderLimits, TensorInfo, read_header

GOOD = save(
    {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.ones(1, 5, dtype=torch.float16)},
    metadata={"format": "pt"},
)
HEADER_BYTES = int.from_bytes(GOOD[:8], "little")


def read(tmp_path: Path, data: bytes, **limits: int) -> dict[str, TensorInfo]:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(data)
    return read_header(path, HeaderLimits(**limits))


def packed(header: Any, data_bytes: int) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data_bytes)


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_are_described_as_the_library_reads_them(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)

    assert {name: info.shape for name, info in found.items()} == {n: tuple(t.shape) for n, t in load(GOOD).items()}
    assert {name: info.dtype for name, info in found.items()} == {"a": "F32", "b": "BF16", "c": "F16"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (GOOD[:7], "cut short"),
        (GOOD[:20], "its header claims"),
        (GOOD[:-1], "cut short, or something added"),
        (GOOD + b"x", "cut short, or something added"),
        (struct.pack("<Q", 1 << 63) + b"{}", "its header claims 9223372036854775808 bytes"),
        (packed(b"[]", 0), "not an object"),
        (packed(b'{"a": 1, "a": 2}', 0), "given more than once"),
        (packed({"a": tensor(dtype="F64", offsets=[0, 16])}, 16), "dtype 'F64', but only F32, F16, BF16"),
        (packed({"a": tensor(dtype=["F32"])}, 8), "has dtype"),
        (packed({"a": tensor(shape=[True, 2])}, 8), "has shape"),
        (packed({"a": tensor(shape=[-2, -1])}, 8), "has shape"),
        (packed({"a": tensor(shape=[0], offsets=[0, 0])}, 0), "has shape"),
        (packed({"a": tensor(shape=[])}, 8), "has shape"),
        (packed({"a": tensor(shape=[1 << 62, 1 << 62])}, 8), "has shape"),
        (packed({"a": tensor(shape=[1] * 9, offsets=[0, 4])}, 4), "has shape"),
        (packed({"a": tensor(shape="22")}, 8), "has shape"),
        (packed({"a": tensor(offsets=[8, 0])}, 8), "has -8 bytes"),
        (packed({"a": tensor(offsets=[0, 12])}, 12), "takes 8"),
        (packed({"a": tensor(offsets=[0])}, 8), "not a start and an end"),
        (packed({"a": tensor(offsets=[4, 12])}, 12), "begins at byte 4"),
        (packed({"a": tensor(), "b": tensor()}, 8), "begins at byte 0"),
        (packed({"a": {**tensor(), "more": 1}}, 8), "not described by"),
        (packed({"a": None}, 8), "not described by"),
        (packed({"__metadata__": {"a": 1}}, 0), "__metadata__"),
        (packed({"__metadata__": None}, 0), "__metadata__"),
        (packed(b'{"a":' + b"[" * 5000, 0), "not valid JSON"),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidAdapterError, match=message):
        read(tmp_path, data)


def test_limits_are_checked_before_the_header_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = packed({f"t{n}": tensor() for n in range(100)}, 8)
    monkeypatch.setattr("adapters.header.parse_object", None)

    with pytest.raises(InvalidAdapterError, match="more than 10 tensors"):
        read(tmp_path, many, entries=10)
    with pytest.raises(InvalidAdapterError, match="the limit is 100"):
        read(tmp_path, many, header_bytes=100)
    with pytest.raises(InvalidAdapterError, match="more than the limit of 50"):
        read(tmp_path, many, file_bytes=50)
    with pytest.raises(InvalidAdapterError, match="more than 10 tensors"):
        read(tmp_path, packed(b'{"a":[' + b"1," * 5000 + b"1]}", 0), entries=10)


def mutate(data: bytes, choice: random.Random) -> bytes:
    """A few changes, most of them in the header."""
    changed = bytearray(data)
    for _ in range(choice.randint(1, 4)):
        end = len(changed) if choice.random() < 0.2 else min(len(changed), 8 + HEADER_BYTES)
        at = choice.randrange(max(1, end))
        kind = choice.randrange(4)
        if kind == 0:
            changed[at : at + 1] = bytes([choice.randrange(256)])
        elif kind == 1:
            changed[at:at] = choice.choice([b"9", b"-", b'"', b"[", b"{", b"null", b"1e9", b"\\ud800", b"\0"])
        elif kind == 2:
            del changed[at : at + choice.randint(1, 8)]
        else:
            other = choice.randrange(max(1, end))
            changed[at : at + 4] = changed[other : other + 4]
    return bytes(changed)


@settings(max_examples=500)
@given(st.integers(0, 1 << 32))
def test_a_mutant_is_read_like_the_library_does_or_refused(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    data = mutate(GOOD, random.Random(seed))
    path.write_bytes(data)
    try:
        found = read_header(path)
    except InvalidAdapterError:
        return
    assert {name: info.shape for name, info in found.items()} == {n: tuple(t.shape) for n, t in load(data).items()}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    try:
        read_header(path)
    except InvalidAdapterError:
        return
