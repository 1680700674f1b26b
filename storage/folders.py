"""Immutable folders on a local disk, published whole or not at all.

A folder is written under `.staging`, flushed, and renamed to `<root>/<key[:2]>/<key>`. The rename is the only step that
makes it visible, so a process killed anywhere leaves either nothing or the complete folder.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.durable import flush, flush_tree
from storage.errors import InvalidKeyError, StagedFolderError, UnknownFolderError

_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STAGING = ".staging"
_TRASH = ".trash"


class FolderStore:
    """Content-addressed folders under one root; keys are SHA-256 digests in hexadecimal.

    Safe for many threads and processes: every name under `.staging` and `.trash` is random, and publishing a key that
    exists keeps what is there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        for folder in (self._root / _STAGING, self._root / _TRASH):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Give an empty folder to fill; it is removed on exit unless it was published."""
        staged = self._root / _STAGING / uuid.uuid4().hex
        staged.mkdir()
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def seal(self, staged: Path) -> None:
        """Flush a staged folder to the disk, file by file, so that `publish` under a lock has little left to do.

        Raises:
            StagedFolderError: the folder is not staged here, is empty, or holds something that is not a plain file.
        """
        if staged.parent != self._root / _STAGING:
            raise StagedFolderError(f"{staged} is not a folder staged by this store ({self._root / _STAGING})")
        if not any(staged.iterdir()):
            raise StagedFolderError(f"{staged} is empty: nothing to publish")
        flush_tree(staged)

    def publish(self, staged: Path, key: str) -> Path:
        """Make a staged folder visible under a key, durably; an existing folder of that key is kept instead.

        Returns:
            The folder's final path, which survives a power cut from this moment on.

        Raises:
            InvalidKeyError: the key is not a digest.
            StagedFolderError: see `seal`.
        """
        target = self._place(key)
        self.seal(staged)
        self._let_appear(staged, target)
        return target

    def path(self, key: str) -> Path:
        """Where a published folder is.

        Raises:
            InvalidKeyError: the key is not a digest.
            UnknownFolderError: nothing is published under it.
        """
        target = self._place(key)
        if not target.is_dir():
            raise UnknownFolderError(key)
        return target

    def place(self, key: str) -> Path:
        """Where a folder of this key is, or would be."""
        return self._place(key)

    def bring(self, key: str) -> None:
        """Let a folder be at its `place` on this machine's disk, where those published here are already."""

    def exists(self, key: str) -> bool:
        """Whether a folder is published under the key."""
        return self._place(key).is_dir()

    def delete(self, key: str) -> None:
        """Remove a folder; it vanishes by one rename, so nobody sees half of it. A missing one is no error."""
        self.discard(key)
        self.empty_trash()

    def discard(self, key: str) -> None:
        """Make a folder invisible, durably and at once; its bytes go with `empty_trash`. A missing one is no error."""
        target = self._place(key)
        trashed = self._root / _TRASH / uuid.uuid4().hex
        try:
            os.rename(target, trashed)
        except FileNotFoundError:
            return
        flush(target.parent)

    def empty_trash(self) -> int:
        """Remove the bytes of folders that were discarded, by this process or one that was killed.

        Returns:
            The number of folders removed.
        """
        trashed = list((self._root / _TRASH).iterdir())
        for folder in trashed:
            shutil.rmtree(folder, ignore_errors=True)
        return len(trashed)

    def keys(self) -> list[str]:
        """Every published key, sorted."""
        return sorted(
            entry.name
            for shelf in self._root.glob("[0-9a-f][0-9a-f]")
            for entry in shelf.iterdir()
            if _KEY.fullmatch(entry.name) and entry.name.startswith(shelf.name)
        )

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed processes left: staged folders untouched for that long, and all that was being deleted.

        Returns:
            The number of folders removed.
        """
        limit = time.time() - older_than_seconds
        leftovers = [folder for folder in (self._root / _STAGING).iterdir() if _last_touched(folder) <= limit]
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        return len(leftovers) + self.empty_trash()

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise InvalidKeyError(key)
        return self._root / key[:2] / key

    def _let_appear(self, staged: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            self._rename(staged, target)
        # Also when the folder was there already: whoever renamed it may have died before these two.
        flush(target.parent)
        flush(self._root)

    def _rename(self, staged: Path, target: Path) -> None:
        try:
            os.rename(staged, target)
        except OSError:
            # Another process published the same content between the look and the rename: keep theirs.
            if not target.is_dir():
                raise


def _last_touched(folder: Path) -> float:
    """The newest modification time in a tree; a folder's own does not move while one of its files grows."""
    newest = 0.0
    for path in (folder, *folder.rglob("*")):
        try:
            newest = max(newest, path.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return newest
