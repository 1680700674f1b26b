"""From a setting to an object store."""

from pathlib import Path

from storage.objects.local import LocalObjects
from storage.objects.remote import RemoteObjects
from storage.objects.store import ObjectStore


def is_remote(address: str) -> bool:
    """Whether the address is a URL of a store that other machines may share, not a folder."""
    return "://" in address


def open_objects(address: str | Path) -> ObjectStore:
    """The store at a URL that fsspec knows, or in a folder.

    Raises:
        StorageUrlError: fsspec knows no such kind of address.
        MissingDriverError: it does, but the library is not installed.
    """
    text = str(address)
    return RemoteObjects(text) if is_remote(text) else LocalObjects(Path(text))
