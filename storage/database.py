"""The relational database: one declarative base, one transaction a session, migrations under a lock."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from storage.errors import DatabaseUrlError
from storage.migration import migrate

# Constraints need names, or a later migration cannot drop them.
NAMING_CONVENTION: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_BUSY_TIMEOUT_MS = 30_000
_BEGIN = "lorad_begin"
"""Execution option that carries the statement a SQLite transaction starts with."""


class Base(DeclarativeBase):
    """Declarative base of every package's tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Database:
    """One SQLite file or one PostgreSQL database.

    Args:
        url: `sqlite:///path/to/file.db` or `postgresql+driver://…`.

    Raises:
        DatabaseUrlError: the address cannot be parsed, is of another kind, or names an in-memory SQLite database.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._engine = create_engine(self._url)
        if self.is_sqlite:
            _prepare_sqlite(self._engine)
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
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            # Otherwise the transaction would start with the first statement, not with the block.
            session.connection()
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view to read from; it waits for no writer, and whatever is changed in it is rolled back."""
        with Session(self._readers, expire_on_commit=False) as session:
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
        migrate(self._engine, lock_file)

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(
            f"database address {url[:200]!r} cannot be parsed: use sqlite:///path/to/file.db"
        ) from error
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise DatabaseUrlError(f"database kind {kind!r} is not supported: use sqlite:///… or postgresql+psycopg://…")
    if kind == "sqlite" and (not parsed.database or ":memory:" in parsed.database):
        raise DatabaseUrlError(
            "an in-memory SQLite database is one per connection: name a file, sqlite:///path/to/file.db"
        )
    return parsed


def _prepare_sqlite(engine: Engine) -> None:
    """Durable, concurrent SQLite whose transactions are the ones we ask for, not the driver's."""
    Path(str(engine.url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)


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
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE"))
