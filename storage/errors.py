"""What can go wrong in storage.

StorageError
├── DatabaseUrlError      the database address is of a kind that is not supported
├── NewerDatabaseError    the database was migrated by a newer lorad
├── InvalidKeyError       a folder key is not 64 lower-case hexadecimal digits
├── UnknownFolderError    no folder was published under the key
└── StagedFolderError     a staged folder cannot be published as it is
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


class StagedFolderError(StorageError):
    """A staged folder cannot be published as it is."""
