from pathlib import Path

import pytest

from storage.durable import staged_file
from storage.errors import StagedFolderError


def test_a_staged_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "there" / "model.gguf"
    with staged_file(target) as staged:
        staged.write_bytes(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"

    def fail() -> None:
        with staged_file(target) as staged:
            staged.write_bytes(b"content")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"

    def replace() -> None:
        with staged_file(target) as staged:
            staged.write_bytes(b"new")
            target.write_bytes(b"old")

    with pytest.raises(StagedFolderError, match="not replaced"):
        replace()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
