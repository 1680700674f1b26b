"""What can go wrong in storage.

StorageError
├── DatabaseUrlError         the database address is of a kind that is not supported
├── NewerDatabaseError       the database was migrated by a newer lorad
├── StorageUrlError          the address of the object store is of a kind that is not supported
├── MissingDriverError       an address needs a library that is not installed
├── StorageUnavailableError  the database or the store cannot be reached or used now; later it may
├── StorageFullError         the disk has no room
├── InvalidTextError         the database keeps no text with a NUL character
├── InvalidKeyError          a folder key is not 64 lower-case hexadecimal digits
├── UnknownFolderError       no folder was published under the key
├── DamagedFolderError       what is stored under a key is not what was published
├── StagedFolderError        a staged folder cannot be published as it is
├── InvalidObjectKeyError    an object key is not well formed
├── UnknownObjectError       no object is stored under the key
└── ObjectExistsError        an object is stored under the key already
"""


class StorageError(Exception):
    """Root of every error that storage raises for its callers."""


class DatabaseUrlError(StorageError):
    """The database address is of a kind that is not supported."""


class NewerDatabaseError(StorageError):
    """The database carries a revision that this code does not know."""

    def __init__(self, found: str, newest_known: str) -> None:
        super().__init__(
            f"the database is at revision {found!r}, which this lorad does not know (its newest is {newest_known!r}): "
            "the database was migrated by a newer lorad. Upgrade lorad, or restore the backup made before the upgrade."
        )
        self.found = found
        self.newest_known = newest_known


class StorageUrlError(StorageError):
    """The address of the object store is of a kind that is not supported."""


class MissingDriverError(StorageError):
    """An address needs a library that is not installed."""

    def __init__(self, address: str, library: str, extra: str) -> None:
        super().__init__(f"{address} needs {library}, which is not installed: pip install 'lorad[{extra}]'")


class StorageUnavailableError(StorageError):
    """The database or the store cannot be reached or used now; the same call may succeed later."""


class StorageFullError(StorageError):
    """The disk has no room."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"nothing more can be written to {place}: {reason}. Free some of its disk, or raise its quota."
        )


class InvalidTextError(StorageError):
    """PostgreSQL keeps no text with a NUL character."""

    def __init__(self) -> None:
        super().__init__("a text holds a NUL character (U+0000), which cannot be kept; leave it out")


class InvalidKeyError(StorageError):
    """A folder key is not 64 lower-case hexadecimal digits."""

    def __init__(self, key: str) -> None:
        super().__init__(f"folder key {key[:80]!r} is not 64 lower-case hexadecimal digits (a SHA-256 without prefix)")
        self.key = key


class UnknownFolderError(StorageError):
    """No folder was published under the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no folder is stored under {key}: it was deleted or never published")
        self.key = key


class DamagedFolderError(StorageError):
    """What is stored under a key is not what was published; it is never used."""


class StagedFolderError(StorageError):
    """A staged folder cannot be published as it is."""


class InvalidObjectKeyError(StorageError):
    """An object key is not well formed."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"object key {key[:80]!r} is not 1 to 512 characters of A-Z a-z 0-9 . _ / - "
            "without empty, '.' or '..' segments, each of at most 255"
        )
        self.key = key


class UnknownObjectError(StorageError):
    """No object is stored under the key."""

    def __init__(self, key: str, place: str) -> None:
        super().__init__(f"no object {key} is stored in {place}: it was deleted or never written")
        self.key = key


class ObjectExistsError(StorageError):
    """An object is stored under the key already."""

    def __init__(self, key: str, place: str) -> None:
        super().__init__(f"object {key} exists in {place} and is not replaced")
        self.key = key
