"""Objects as files under one folder: flushed first, then visible by one link."""

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from storage.durable import flush
from storage.errors import ObjectExistsError, StorageFullError, StorageUnavailableError, UnknownObjectError
from storage.objects.store import check_key, check_prefix

_STAGING: Final = "~staging"
"""A name that no key has: `~` is not allowed in one."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_ABSENT: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalObjects:
    """An `ObjectStore` in a folder; a key is the path under it."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @contextmanager
    def write(self, key: str) -> Iterator[BinaryIO]:
        """See `ObjectStore.write`."""
        target = self._root / check_key(key)
        if os.path.lexists(target):
            raise ObjectExistsError(key, str(self._root))
        with self._reported("write"):
            staged = self._stage()
        try:
            with staged.open("xb") as stream, self._full_reported():
                yield stream
                stream.flush()
            with self._reported("write"):
                flush(staged)
                self._publish(staged, target, key)
        finally:
            staged.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        with self._reported("read", key):
            return (self._root / check_key(key)).open("rb")

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return (self._root / check_key(key)).is_file()

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        path = self._root / check_key(key)
        if not path.is_file():
            raise UnknownObjectError(key, str(self._root))
        with self._reported("read", key):
            return path.stat().st_size

    def written_at(self, key: str) -> float:
        """See `ObjectStore.written_at`."""
        with self._reported("read", key):
            return (self._root / check_key(key)).stat().st_mtime

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._root / check_key(key)
        if not path.is_file():
            return
        with self._reported("delete"):
            path.unlink(missing_ok=True)
            flush(path.parent)

    def keys(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.keys`."""
        # Only the folder that the prefix reaches into is walked, not every object there is.
        folder = self._root / check_prefix(prefix).rpartition("/")[0]
        found = (path.relative_to(self._root).as_posix() for path in folder.rglob("*") if path.is_file())
        return iter(sorted(key for key in found if key.startswith(prefix) and not key.startswith(_STAGING)))

    def sweep(self, older_than_seconds: float) -> int:
        """See `ObjectStore.sweep`."""
        limit = time.time() - older_than_seconds
        staging = self._root / _STAGING
        left = [path for path in staging.glob("*") if path.stat().st_mtime <= limit]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _stage(self) -> Path:
        staging = self._root / _STAGING
        staging.mkdir(parents=True, exist_ok=True)
        return staging / uuid.uuid4().hex

    def _publish(self, staged: Path, target: Path, key: str) -> None:
        """A link, unlike a rename, fails where the name is taken: of two writers of a key one is refused."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(staged, target)
        except (FileExistsError, NotADirectoryError) as error:
            raise ObjectExistsError(key, str(self._root)) from error
        for folder in target.parents:
            flush(folder)
            if folder == self._root:
                break

    @contextmanager
    def _reported(self, action: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except _ABSENT as error:
            raise UnknownObjectError(key, str(self._root)) from error
        except OSError as error:
            raise _unusable(error, action, self._root) from error

    @contextmanager
    def _full_reported(self) -> Iterator[None]:
        """Of what is raised inside a block that fills an object, only this is surely the store's."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise _unusable(error, "write", self._root) from error


def _unusable(error: OSError, action: str, root: Path) -> StorageFullError | StorageUnavailableError:
    if error.errno in _FULL:
        return StorageFullError(str(root), error.strerror or str(error))
    return StorageUnavailableError(
        f"cannot {action} objects in {root}: {error.strerror or error}. Check that the disk is mounted and writable."
    )
