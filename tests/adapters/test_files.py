import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidAdapterError
from adapters.files import parse_object, read_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 2}', "'a' is given more than once"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b"[]", "a JSON list, not an object"),
        (b"", "not valid JSON"),
    ],
)
def test_loose_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InvalidAdapterError, match=message):
        parse_object(text, "lorad.json")


@given(st.binary())
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        assert isinstance(parse_object(data, "x"), dict)
    except InvalidAdapterError:
        return


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")

    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(InvalidAdapterError, match="5 bytes, more than the limit of 4"):
        read_bytes(tmp_path / "file", 4)


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "folder", "pipe", "nothing"):
        with pytest.raises(InvalidAdapterError, match=name):
            read_bytes(tmp_path / name, 100)
