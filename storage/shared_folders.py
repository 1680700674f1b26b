"""Folders in an object store that several machines share, each with a bounded cache on its disk."""

import hashlib
import io
import os
import re
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Buffer

from storage.errors import (
    DamagedFolderError,
    InvalidKeyError,
    ObjectExistsError,
    StorageUnavailableError,
    UnknownFolderError,
    UnknownObjectError,
)
from storage.folders import FolderStore
from storage.objects.store import ObjectStore

_LOCKS: Final = ".locks"
_LOCK_SECONDS: Final = 600
_IN_USE_SECONDS: Final = 60
"""A folder that somebody asked for so recently may be being read, and stays in the cache."""
_BUNDLE: Final = re.compile(r"bundles/([0-9a-f]{64})/(\d+)-[0-9a-f]{32}")


class _Marker(BaseModel):
    """What makes a folder visible: the object `folders/<key>`, which says where its bytes are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str
    """Key of a tar archive of the folder."""
    sha256: str
    """Of the archive."""


class SharedFolders(FolderStore):
    """A `FolderStore` whose truth is in an object store; the folder it is given is a cache.

    `seal` uploads the folder as one archive under a name that nobody else uses, and `publish` writes the small object
    that makes it visible. What is downloaded is used only when the folder has the digest that its key says.

    Args:
        objects: shared by the machines.
        cache: this machine's folder; several processes may use it.
        digest: the key of a folder's content.
        max_cache_bytes: folders used least recently leave the cache above this.
    """

    def __init__(
        self, objects: ObjectStore, cache: Path, *, digest: Callable[[Path], str], max_cache_bytes: int
    ) -> None:
        super().__init__(cache)
        (self._root / _LOCKS).mkdir(exist_ok=True)
        self._objects = objects
        self._digest = digest
        self._max_cache_bytes = max_cache_bytes
        self._sealed: dict[Path, _Marker] = {}
        """Staged folders that are uploaded and not yet published."""

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """See `FolderStore.stage`."""
        with super().stage() as staged:
            try:
                yield staged
            finally:
                self._drop_upload(staged)

    def seal(self, staged: Path) -> None:
        """Flush a staged folder and upload it, invisibly.

        Raises:
            StagedFolderError: as in `FolderStore.seal`.
            StorageUnavailableError: the object store cannot be reached.
        """
        super().seal(staged)
        if staged not in self._sealed:
            self._sealed[staged] = self._upload(staged)

    def publish(self, staged: Path, key: str) -> Path:
        """See `FolderStore.publish`; when this raises StorageUnavailableError, nothing half-way is visible."""
        marker_key, target = _marker_key(key), self.place(key)
        self.seal(staged)
        # The cache first: should its disk fail, nothing is published. Content that nobody published hurts nobody there.
        self._let_appear(staged, target)
        # From here on the upload is not dropped on failure: an answer that was lost may have been a yes. `sweep` knows.
        marker = self._sealed.pop(staged)
        try:
            with self._objects.write(marker_key) as stream:
                stream.write(marker.model_dump_json().encode())
        except ObjectExistsError:
            # Another machine published the same content and theirs is kept; or ours was, and the answer was lost.
            if not self._refers(key, marker.bundle):
                self._objects.delete(marker.bundle)
        self._shrink()
        return target

    def path(self, key: str) -> Path:
        """Where a published folder is on this machine; downloaded first, once, where it is not yet.

        Raises:
            InvalidKeyError: the key is not a digest.
            UnknownFolderError: nothing is published under it.
            DamagedFolderError: what lies in the store is not what was published.
            StorageUnavailableError: it is not on this machine, and the store cannot be reached.
        """
        target = self.place(key)
        if not self._touch(target):
            try:
                # One lock a shelf: a lock file for each key would stay for ever.
                with FileLock(self._root / _LOCKS / key[:2], timeout=_LOCK_SECONDS):
                    if not self._touch(target):
                        self._download(key)
            except Timeout as error:
                raise StorageUnavailableError(
                    f"folder {key} has been downloaded by another process for {_LOCK_SECONDS} s; try again later"
                ) from error
            self._shrink()
        return target

    def bring(self, key: str) -> None:
        """Download a folder unless it is in the cache; raises as `path` does."""
        self.path(key)

    def exists(self, key: str) -> bool:
        """See `FolderStore.exists`; asks the object store."""
        return self._objects.exists(_marker_key(key))

    def discard(self, key: str) -> None:
        """Remove a folder from the object store and this machine's cache. A missing one is no error."""
        try:
            marker = self._marker(key)
        except UnknownFolderError:
            pass
        else:
            self._objects.delete(_marker_key(key))
            self._objects.delete(marker.bundle)
        super().discard(key)

    def keys(self) -> list[str]:
        """See `FolderStore.keys`; those of the object store."""
        return [key.rpartition("/")[2] for key in self._objects.keys("folders/")]

    def sweep(self, older_than_seconds: float) -> int:
        """See `FolderStore.sweep`; also removes uploads that old which were never published."""
        limit = time.time() - older_than_seconds
        uploads = [match for key in self._objects.keys("bundles/") if (match := _BUNDLE.fullmatch(key))]
        removed = 0
        for upload in uploads:
            if int(upload[2]) <= limit and not self._refers(upload[1], upload[0]):
                self._objects.delete(upload[0])
                removed += 1
        return removed + super().sweep(older_than_seconds)

    def _refers(self, key: str, bundle: str) -> bool:
        try:
            return self._marker(key).bundle == bundle
        except UnknownFolderError:
            return False

    def _upload(self, staged: Path) -> _Marker:
        bundle = f"bundles/{self._digest(staged)}/{int(time.time())}-{uuid.uuid4().hex}"
        with self._objects.write(bundle) as stream:
            hashing = _Hashing(stream)
            with tarfile.open(fileobj=hashing, mode="w|") as archive:
                archive.add(staged, arcname=".")
        return _Marker(bundle=bundle, sha256=hashing.hash.hexdigest())

    def _drop_upload(self, staged: Path) -> None:
        marker = self._sealed.pop(staged, None)
        if marker is None:
            return
        try:
            self._objects.delete(marker.bundle)
        except StorageUnavailableError:
            # `sweep` will; the error that matters is on its way already.
            return

    def _marker(self, key: str) -> _Marker:
        try:
            with self._objects.open(_marker_key(key)) as stream:
                return _Marker.model_validate_json(stream.read())
        except UnknownObjectError as error:
            raise UnknownFolderError(key) from error
        except ValidationError as error:
            raise DamagedFolderError(
                f"folder {key} is damaged: {_marker_key(key)} is not as lorad writes it"
            ) from error

    def _download(self, key: str) -> None:
        marker = self._marker(key)
        with super().stage() as staged:
            archive = staged.with_name(f"{staged.name}.tar")
            try:
                self._fetch(key, marker, archive)
                _unpack(key, archive, staged)
            finally:
                archive.unlink(missing_ok=True)
            if self._digest(staged) != key:
                raise DamagedFolderError(f"folder {key} is damaged: its content has the digest {self._digest(staged)}")
            super().seal(staged)
            self._let_appear(staged, self.place(key))

    def _fetch(self, key: str, marker: _Marker, target: Path) -> None:
        try:
            with self._objects.open(marker.bundle) as stream, target.open("xb") as file:
                hashing = _Hashing(file)
                while chunk := stream.read(1 << 20):
                    hashing.write(chunk)
        except UnknownObjectError as error:
            raise DamagedFolderError(f"folder {key} is damaged: its bytes, {marker.bundle}, are gone") from error
        if hashing.hash.hexdigest() != marker.sha256:
            raise DamagedFolderError(
                f"folder {key} is damaged: {marker.bundle} has SHA-256 {hashing.hash.hexdigest()}, not {marker.sha256}"
            )

    def _touch(self, folder: Path) -> bool:
        """Note that a cached folder is used; False where there is none."""
        try:
            os.utime(folder)
        except FileNotFoundError:
            return False
        return True

    def _shrink(self) -> None:
        """Let the folders used least recently go until the cache is within its bound."""
        folders = [self.place(key) for key in FolderStore.keys(self)]
        cached = [(_mtime(folder), folder) for folder in folders]
        sizes = {folder: sum(_size(path) for path in folder.rglob("*")) for _, folder in cached}
        excess = sum(sizes.values()) - self._max_cache_bytes
        for used, folder in sorted(cached):
            if excess <= 0 or used > time.time() - _IN_USE_SECONDS:
                break
            super().discard(folder.name)
            excess -= sizes[folder]
        self.empty_trash()


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self.hash.update(data)
        return self._target.write(data)


def _marker_key(key: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise InvalidKeyError(key)
    return f"folders/{key}"


def _unpack(key: str, archive: Path, target: Path) -> None:
    try:
        with tarfile.open(archive, "r:") as content:
            # "data": no absolute names, no way out, no links out, no devices.
            content.extractall(target, filter="data")
    except tarfile.TarError as error:
        raise DamagedFolderError(f"folder {key} is damaged: {error}") from error


def _mtime(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
