import re
from pathlib import Path

import pytest

from adapters.digest import adapter_digest, folder_key
from adapters.errors import InvalidAdapterError

FILES = ("adapter_config.json", "adapter_model.safetensors", "lorad.json")


@pytest.fixture
def three_files(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def test_the_digest_is_stable_across_releases(three_files: Path) -> None:
    # Written down once: a change of the listing would orphan every published folder.
    assert adapter_digest(three_files) == "sha256:86def69337be3c9ea62cb0730be5319a17c48dc10dab6ba93a2317887ce373c8"


@pytest.mark.parametrize("name", FILES)
def test_every_file_counts(three_files: Path, name: str) -> None:
    before = adapter_digest(three_files)

    (three_files / name).write_text("content changed")

    assert adapter_digest(three_files) != before


def test_other_files_do_not_count(three_files: Path) -> None:
    before = adapter_digest(three_files)

    (three_files / "README.md").write_text("hello")

    assert adapter_digest(three_files) == before


def test_moving_bytes_between_files_changes_the_digest(three_files: Path) -> None:
    before = adapter_digest(three_files)
    contents = [(three_files / name).read_text() for name in FILES]

    for name, content in zip(FILES, reversed(contents), strict=True):
        (three_files / name).write_text(content)

    assert adapter_digest(three_files) != before


def test_a_missing_file_is_named(three_files: Path) -> None:
    (three_files / "lorad.json").unlink()

    with pytest.raises(InvalidAdapterError, match=re.escape("lorad.json is missing")):
        adapter_digest(three_files)


def test_a_folder_key_is_the_bare_digest() -> None:
    assert folder_key("sha256:" + "a" * 64) == "a" * 64
