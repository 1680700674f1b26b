"""The relational database: one declarative base, one transaction a session, migrations under a lock."""

import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from storage.errors import DatabaseUrlError, MissingDriverError, StorageUnavailableError
from storage.migration import migrate
from storage.outage import outage, unavailable

# Constraints need names, or a later migration cannot drop them.
NAMING_CONVENTION: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_BUSY_TIMEOUT_MS = 30_000
_ANSWER_SECONDS = 15
"""How long PostgreSQL may say nothing before the connection counts as lost."""
_LOCK_TIMEOUT_MS = 10_000
"""Less, so that a wait for others ends as an error of the statement, not of the connection."""
_DRIVER = "postgresql+pg8000"
_WRITE = "BEGIN IMMEDIATE"
_ASK_SECONDS = (0.001, 0.004)
"""Between two attempts to write: a transaction takes a few milliseconds, most of them the disk's."""
_chance = Random()
"""Of this module alone: a program's own `random` gives what its seed says."""
_BEGIN = "lorad_begin"
"""Execution option that carries the statement a SQLite transaction starts with."""


class Base(DeclarativeBase):
    """Declarative base of every package's tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Database:
    """One SQLite file or one PostgreSQL database.

    Args:
        url: `sqlite:///path/to/file.db` or `postgresql+pg8000://user:password@host/name`.

    Raises:
        DatabaseUrlError: the address cannot be parsed, is of another kind, or names an in-memory SQLite database.
        MissingDriverError: PostgreSQL's driver is not installed.

    Whatever talks to the database raises StorageUnavailableError when it cannot be reached, breaks the connection, says
    nothing for 15 seconds or stays locked by others too long, and StorageFullError when its disk is full. Where that
    happens while a block of `session` ends, whether it was committed is not known.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._engine = _sqlite(self._url) if self.is_sqlite else _postgresql(self._url)
        # Each kind's way to a transaction that sees one state from its first read to its end.
        one_view = {_BEGIN: "BEGIN DEFERRED"} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._readers = self._engine.execution_options(**one_view)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One writing transaction: committed when the block ends, rolled back when it raises.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that writers wait for each other instead of
        failing when a reader turns into a writer. Keep such blocks short.
        """
        with self._reported(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            self._connect(session)
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view to read from; it waits for no writer, and whatever is changed in it is rolled back."""
        with self._reported(), Session(self._readers, expire_on_commit=False) as session:
            self._connect(session)
            yield session

    def serialise(self, session: Session, name: str) -> None:
        """Let transactions that call this with the same name run one after the other, until they end.

        SQLite's writing transactions exclude each other already; PostgreSQL takes an advisory lock.
        """
        if not self.is_sqlite:
            session.execute(select(func.pg_advisory_xact_lock(zlib.crc32(name.encode()))))

    def migrate(self) -> None:
        """Bring the tables to this code's revision; processes that start together wait for the first.

        Raises:
            NewerDatabaseError: a newer lorad migrated this database.
        """
        lock_file = Path(f"{self._url.database}.migrate.lock") if self.is_sqlite else None
        with self._reported(), self._silence_reported():
            migrate(self._engine, lock_file)

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _connect(self, session: Session) -> None:
        """Start the transaction; otherwise it would start with the first statement, not with the block."""
        with self._silence_reported():
            session.connection()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as error:
            failure = outage(error, self._url.render_as_string())
            if failure is None:
                raise
            raise failure from error

    @contextmanager
    def _silence_reported(self) -> Iterator[None]:
        """pg8000 lets a socket's timeout through as it is; only where nobody else's code runs is it surely that."""
        try:
            yield
        except OSError as error:
            if self.is_sqlite:
                raise
            raise unavailable(self._url.render_as_string(), str(error)) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(
            f"database address {url[:200]!r} cannot be parsed: use sqlite:///path/to/file.db or {_DRIVER}://…"
        ) from error
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise DatabaseUrlError(f"database kind {kind!r} is not supported: use sqlite:///… or {_DRIVER}://…")
    if kind == "postgresql" and parsed.drivername not in (kind, _DRIVER):
        raise DatabaseUrlError(f"database driver {parsed.drivername!r} is not supported: write {_DRIVER}://…")
    if kind == "sqlite" and (not parsed.database or ":memory:" in parsed.database):
        raise DatabaseUrlError(
            "an in-memory SQLite database is one per connection: name a file, sqlite:///path/to/file.db"
        )
    return parsed if kind == "sqlite" else parsed.set(drivername=_DRIVER)


def _sqlite(url: URL) -> Engine:
    """Durable, concurrent SQLite whose transactions are the ones we ask for, not the driver's."""
    Path(str(url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _postgresql(url: URL) -> Engine:
    """A pool that notices dead connections and opens others, and waits for none for long."""
    arguments = {"timeout": _ANSWER_SECONDS, "startup_params": {"lock_timeout": str(_LOCK_TIMEOUT_MS)}}
    try:
        engine = create_engine(url, pool_pre_ping=True, pool_timeout=_ANSWER_SECONDS, connect_args=arguments)
    except ImportError as error:
        raise MissingDriverError(f"{_DRIVER}://", "pg8000", "postgresql") from error
    event.listen(engine, "handle_error", _drop_silent)
    return engine


def _drop_silent(context: ExceptionContext) -> StorageUnavailableError | None:
    """A connection whose answer was not waited for is never used again: that answer may come to the next question."""
    if not isinstance(context.original_exception, OSError) or context.engine is None:
        return None
    context.is_disconnect = True
    return unavailable(context.engine.url.render_as_string(), str(context.original_exception))


def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver would commit before DDL and start transactions late; None leaves both to `_begin`.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement is not None:
        connection.exec_driver_sql(statement)
    elif not _write_soon(connection.connection.driver_connection):
        # Again, for SQLAlchemy's error and this module's words.
        connection.exec_driver_sql(_WRITE)


def _write_soon(driver: Any) -> bool:
    """Begins a writing transaction as soon as the lock is free; whether it has begun.

    SQLite waits in steps that grow to a tenth of a second, so whoever has waited long sleeps while newcomers take the
    lock. Here all ask equally often: whose turn it is, is chance, but nobody's chances fall.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while time.monotonic() < deadline:
            try:
                driver.execute(_WRITE)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    return False
                time.sleep(_chance.uniform(*_ASK_SECONDS))
            else:
                return True
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
