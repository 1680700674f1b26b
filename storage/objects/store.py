"""The seam between what keeps bytes under keys and where they lie."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, Protocol

from storage.errors import InvalidObjectKeyError

_KEY: Final = re.compile(r"[A-Za-z0-9._/-]{1,512}", re.ASCII)
_MAX_SEGMENT_CHARACTERS: Final = 255
"""What file systems allow for one name."""


class ObjectStore(Protocol):
    """Immutable objects under keys: written once and whole, read as often as wanted, deleted.

    Safe for many threads, processes and, where the store is shared, machines. A key is 1 to 512 characters of
    `[A-Za-z0-9._/-]`; none of its segments between slashes is empty, `.`, `..` or longer than 255, and no key is also
    the folder of others: a disk could not hold both. Every method raises a StorageError: InvalidObjectKeyError for a
    key that is none, StorageUnavailableError for a store that cannot be reached, within bounded time.
    """

    def write(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Give a stream to fill, forward only; when the block ends well, the object is durable and visible, whole.

        When the block raises, or the process is killed anywhere, there is no object.

        Raises:
            ObjectExistsError: the key is taken, at the start or by the time the block ends. Nothing is replaced.
            StorageFullError: the disk or quota has no room.
        """

    def open(self, key: str) -> BinaryIO:
        """A stream to read from, seekable; the caller closes it.

        Raises:
            UnknownObjectError: there is no such object.
        """

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def size(self, key: str) -> int:
        """Its bytes.

        Raises:
            UnknownObjectError: there is no such object.
        """

    def written_at(self, key: str) -> float:
        """When it was written, in seconds since the epoch, by the store's clock.

        Raises:
            UnknownObjectError: there is no such object.
        """

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, sorted; an empty one means all.

        Raises:
            InvalidObjectKeyError: no key begins so.
        """

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed writers left and nobody has written to for that long.

        Returns:
            The number of files removed; 0 for a store that removes unfinished uploads itself.
        """


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        InvalidObjectKeyError: it is none.
    """
    segments = key.split("/")
    if not _KEY.fullmatch(key) or any(
        part in ("", ".", "..") or len(part) > _MAX_SEGMENT_CHARACTERS for part in segments
    ):
        raise InvalidObjectKeyError(key)
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself.

    Raises:
        InvalidObjectKeyError: no key begins so.
    """
    if prefix:
        check_key(f"{prefix}x")
    return prefix
