"""A database that is down, hangs, is locked or full, and what its callers are told."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import database as database_module
from storage.database import Database
from storage.errors import StorageFullError, StorageUnavailableError
from tests.servers.postgresql import Cluster

_INSERT = text("INSERT INTO adapters (tenant, name, next_number, created_at) VALUES ('t', :name, 1, '2026-01-01')")


def insert(database: Database, name: str) -> None:
    with database.session() as session:
        session.execute(_INSERT, {"name": name})


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(text("SELECT name FROM adapters ORDER BY name")).scalars())


@pytest.fixture
def on_postgresql(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(database_module, "_ANSWER_SECONDS", 2)
    monkeypatch.setattr(database_module, "_LOCK_TIMEOUT_MS", 200)
    database = Database(postgresql_url)
    database.migrate()
    yield database
    database.dispose()


def test_a_server_that_is_down_is_reported_and_found_again(
    breakable_postgresql: Cluster, on_postgresql: Database
) -> None:
    insert(on_postgresql, "before")
    breakable_postgresql.stop()
    try:
        with pytest.raises(StorageUnavailableError, match=r"database postgresql.*cannot be used.*Check that it runs"):
            insert(on_postgresql, "lost")
        with pytest.raises(StorageUnavailableError):
            names(on_postgresql)
        with pytest.raises(StorageUnavailableError):
            on_postgresql.migrate()
    finally:
        breakable_postgresql.start()

    insert(on_postgresql, "after")
    assert names(on_postgresql) == ["after", "before"]


def test_a_connection_that_breaks_in_a_transaction_takes_it_back(
    breakable_postgresql: Cluster, on_postgresql: Database
) -> None:
    def break_it() -> None:
        with on_postgresql.session() as session:
            session.execute(_INSERT, {"name": "lost"})
            breakable_postgresql.stop()
            breakable_postgresql.start()
            session.execute(_INSERT, {"name": "lost too"})

    with pytest.raises(StorageUnavailableError):
        break_it()

    assert names(on_postgresql) == []


def test_a_server_that_says_nothing_in_a_transaction_takes_it_back(
    breakable_postgresql: Cluster, on_postgresql: Database
) -> None:
    def freeze() -> None:
        with on_postgresql.session() as session:
            session.execute(_INSERT, {"name": "lost"})
            breakable_postgresql.freeze()
            session.execute(_INSERT, {"name": "lost too"})

    try:
        with pytest.raises(StorageUnavailableError, match="timed out"):
            freeze()
    finally:
        breakable_postgresql.thaw()

    assert names(on_postgresql) == []


def test_a_server_that_says_nothing_holds_nobody(breakable_postgresql: Cluster, on_postgresql: Database) -> None:
    insert(on_postgresql, "before")
    breakable_postgresql.freeze()
    try:
        with pytest.raises(StorageUnavailableError, match="timed out"):
            names(on_postgresql)
    finally:
        breakable_postgresql.thaw()

    assert names(on_postgresql) == ["before"]


def test_a_lock_that_others_keep_is_reported(on_postgresql: Database, postgresql_url: str) -> None:
    other = Database(postgresql_url)
    with other.session() as holder:
        other.serialise(holder, "adapters")
        with pytest.raises(StorageUnavailableError, match="lock timeout"), on_postgresql.session() as session:
            on_postgresql.serialise(session, "adapters")
    other.dispose()


def test_the_password_is_not_in_the_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(StorageUnavailableError, match=rf"lorad:\*\*\*@127.0.0.1:{port}") as caught:
        Database(f"postgresql+pg8000://lorad:secret@127.0.0.1:{port}/none").migrate()

    assert "secret" not in str(caught.value)


def test_a_sqlite_file_that_others_keep_locked_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_TIMEOUT_MS", 50)
    one, other = (Database(f"sqlite:///{tmp_path}/lorad.db") for _ in range(2))
    one.migrate()

    with one.session(), pytest.raises(StorageUnavailableError, match=r"lorad.db cannot be used: database is locked"):
        insert(other, "a")

    insert(other, "b")
    assert names(one) == ["b"]
    for database in (one, other):
        database.dispose()


def test_a_sqlite_file_that_may_not_grow_is_reported(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/lorad.db")
    database.migrate()

    def fill() -> None:
        with database.session() as session:
            session.execute(text("PRAGMA max_page_count = 1"))
            for number in range(1000):
                session.execute(_INSERT, {"name": f"{number}" * 50})

    with pytest.raises(StorageFullError, match=r"nothing more can be written to .*lorad.db"):
        fill()

    assert names(database) == []
    database.dispose()
