"""Which of a database's errors are about its state or a caller's text, rather than about a wrong statement."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import InvalidTextError, StorageError, StorageFullError, StorageUnavailableError

_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: "others kept it locked; long transactions or a hanging process hold it",
    sqlite3.SQLITE_LOCKED: "others kept it locked; long transactions or a hanging process hold it",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "its disk fails",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
}
_POSTGRESQL: Final = ("08", "53", "57P", "55P03", "40001", "40P01", "58030")
"""Beginnings of SQLSTATE: connection, resources, shutdown, lock not available, transactions that met, I/O.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""
_POSTGRESQL_FULL: Final = "53100"


_POSTGRESQL_TEXT: Final = ("22021", "22P05")
"""A character that its encoding has not, in a column and within JSON."""


def outage(error: DBAPIError | PoolTimeoutError, address: str) -> StorageError | None:
    """What callers are told; None for an error of the statement itself.

    Args:
        error: as SQLAlchemy raised it.
        address: of the database, without its password.
    """
    if isinstance(error, PoolTimeoutError):
        return unavailable(address, "all connections of this process are in use")
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return _sqlite_outage(original, address)
    details: object = next(iter(getattr(original, "args", ())), "")
    # pg8000 gives the server's error as its fields by letter; what comes from the network is an InterfaceError.
    code, message = (str(details.get("C")), str(details.get("M"))) if isinstance(details, dict) else ("", str(details))
    if code == _POSTGRESQL_FULL:
        return StorageFullError(address, message)
    if code in _POSTGRESQL_TEXT:
        return InvalidTextError()
    if code.startswith(_POSTGRESQL) or error.connection_invalidated or isinstance(error, InterfaceError):
        return unavailable(address, message)
    return None


def _sqlite_outage(error: sqlite3.Error, address: str) -> StorageUnavailableError | StorageFullError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(address, str(error))
    return unavailable(address, f"{error}: {_SQLITE[code]}") if code in _SQLITE else None


def unavailable(address: str, reason: str) -> StorageUnavailableError:
    """What callers are told of a database that cannot be used now."""
    reason = reason.rstrip(".")
    return StorageUnavailableError(
        f"the database {address} cannot be used: {reason}. Check that it runs and is reachable; then try again."
    )
