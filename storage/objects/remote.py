"""Objects in a store that several machines share: S3 and whatever else fsspec speaks."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final

from fsspec.core import url_to_fs
from typing_extensions import Buffer

from storage.errors import (
    MissingDriverError,
    ObjectExistsError,
    StorageError,
    StorageUnavailableError,
    StorageUrlError,
    UnknownObjectError,
)
from storage.objects.store import check_key, check_prefix

_BLOCK_BYTES: Final = 8 << 20
"""Of one part of an upload and of one read ahead."""
_S3: Final = {
    # Credentials and endpoint come from AWS's own variables and files, AWS_ENDPOINT_URL among them.
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2, "mode": "standard"}},
    "use_listings_cache": False,
    "default_block_size": _BLOCK_BYTES,
}
_S3_ATTEMPTS: Final = 3
_TAKEN: Final = "pre-conditions"
"""In the text of s3fs's error when S3 refuses a write on condition that there is nothing yet."""


class RemoteObjects:
    """An `ObjectStore` under a URL, `s3://bucket/prefix` for one.

    Uploads are multipart: parts go out as they are written, and the object appears when the last has arrived and the
    upload is completed.

    Raises:
        StorageUrlError: fsspec knows no such kind of address.
        MissingDriverError: it does, but the library is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        protocol = self._url.partition("://")[0]
        options: Mapping[str, Any] = _S3 if protocol in ("s3", "s3a") else {}
        try:
            self._files, root = url_to_fs(self._url, skip_instance_cache=True, **options)
        except ImportError as error:
            library, extra = ("s3fs", "s3") if options else (f"fsspec's driver for {protocol}", protocol)
            raise MissingDriverError(self._url, library, extra) from error
        except ValueError as error:
            raise StorageUrlError(
                f"storage address {url[:200]!r} cannot be used: {error}. Use a folder or s3://bucket/prefix"
            ) from error
        self._root = root.rstrip("/")
        # S3 refuses the second of two writers itself; elsewhere the look before the write has to do.
        self._mode = "xb" if options else "wb"
        if options:
            self._files.retries = _S3_ATTEMPTS

    @contextmanager
    def write(self, key: str) -> Iterator[BinaryIO]:
        """See `ObjectStore.write`."""
        if self.exists(key):
            raise ObjectExistsError(key, self._url)
        with self._reported("write", key):
            upload = self._files.open(self._path(key), self._mode, block_size=_BLOCK_BYTES)
        sink = _Sink(self, key, upload)
        try:
            # Not in a `with`: closing it would complete the upload of a block that raised.
            stream = io.BufferedWriter(sink, 1 << 20)
            yield stream
            stream.flush()
            with self._reported("write", key):
                upload.close()
        except BaseException:
            sink.give_up()
            raise

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        self.size(key)
        with self._reported("read", key):
            source = self._files.open(self._path(key), "rb", block_size=_BLOCK_BYTES)
        return io.BufferedReader(_Source(self, key, source), 1 << 20)

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            self.size(key)
        except UnknownObjectError:
            return False
        return True

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        with self._reported("read", key):
            found = self._files.info(self._path(key))
        if found["type"] != "file":
            raise UnknownObjectError(key, self._url)
        return int(found["size"])

    def written_at(self, key: str) -> float:
        """See `ObjectStore.written_at`."""
        with self._reported("read", key):
            return float(self._files.modified(self._path(key)).timestamp())

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with suppress(UnknownObjectError), self._reported("delete", key):
            self._files.rm_file(self._path(key))

    def keys(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.keys`."""
        folder = check_prefix(prefix).rpartition("/")[0]
        found: list[str] = []
        with suppress(UnknownObjectError), self._reported("list", prefix):
            found = self._files.find(f"{self._root}/{folder}".rstrip("/"))
        names = (path.removeprefix(f"{self._root}/") for path in found)
        return iter(sorted(key for key in names if key.startswith(prefix)))

    def sweep(self, older_than_seconds: float) -> int:  # noqa: ARG002 - of the protocol
        """See `ObjectStore.sweep`. Parts of unfinished uploads are the bucket's: a lifecycle rule removes them."""
        return 0

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    @contextmanager
    def _reported(self, action: str, key: str) -> Iterator[None]:
        """What drivers raise is open-ended: their own errors, their HTTP library's, the system's."""
        try:
            yield
        except FileNotFoundError as error:
            if action == "write":
                raise _unusable(error, action, key, self._url) from error
            raise UnknownObjectError(key, self._url) from error
        except StorageError:
            raise
        except Exception as error:
            if isinstance(error, FileExistsError) or (_TAKEN in str(error) and action == "write"):
                raise ObjectExistsError(key, self._url) from error
            raise _unusable(error, action, key, self._url) from error


class _Sink(io.RawIOBase):
    """An upload's parts on their way out, with our errors."""

    def __init__(self, store: RemoteObjects, key: str, upload: Any) -> None:
        self._store, self._key, self._upload = store, key, upload

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        if self._upload is None:
            return memoryview(data).nbytes
        with self._store._reported("write", self._key):
            return int(self._upload.write(bytes(data)))

    def give_up(self) -> None:
        """Abort the upload; what the store keeps of it if even that fails is invisible."""
        upload, self._upload = self._upload, None
        # fsspec's file would complete itself when it is collected.
        upload.closed = True
        with suppress(Exception):
            upload.discard()


class _Source(io.RawIOBase):
    """An object's bytes on their way in, with our errors."""

    def __init__(self, store: RemoteObjects, key: str, source: Any) -> None:
        self._store, self._key, self._source = store, key, source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with self._store._reported("read", self._key):
            data = self._source.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._source.seek(offset, whence))

    def tell(self) -> int:
        return int(self._source.tell())

    def close(self) -> None:
        self._source.close()
        super().close()


def _unusable(error: Exception, action: str, key: str, url: str) -> StorageUnavailableError:
    reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    return StorageUnavailableError(
        f"cannot {action} object {key!r} in {url}: {reason}. Check that the store runs, that the bucket exists, and "
        "the endpoint and credentials in the environment (for S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …)."
    )
