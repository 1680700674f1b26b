"""Writing that survives a kill and a power cut: flush to the disk first, then one rename."""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import StagedFolderError


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder beside `target`; when the block ends well it becomes `target`, durably and by one rename.

    When the block raises, or the process is killed anywhere, there is no `target`.

    Raises:
        StagedFolderError: `target` exists.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    staged.mkdir()
    try:
        yield staged
        flush_tree(staged)
        if target.exists():
            raise StagedFolderError(f"{target} exists and is not replaced")
        os.rename(staged, target)
        flush(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """As `staged_folder`, for one file: gives a path beside `target` to write to.

    Raises:
        StagedFolderError: `target` exists.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield staged
        flush(staged)
        if target.exists():
            raise StagedFolderError(f"{target} exists and is not replaced")
        os.rename(staged, target)
        flush(target.parent)
    finally:
        staged.unlink(missing_ok=True)


def flush_tree(folder: Path) -> None:
    """Flushes every file, then the folder that lists them, deepest first.

    Raises:
        StagedFolderError: something in it is neither a plain file nor a folder.
    """
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            flush_tree(entry)
        elif stat.S_ISREG(mode):
            flush(entry)
        else:
            raise StagedFolderError(
                f"{entry} is neither a plain file nor a folder: links and devices are not published"
            )
    flush(folder)


def flush(path: Path) -> None:
    """Flushes one file or folder to the disk; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
