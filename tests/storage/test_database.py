import multiprocessing
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from storage.columns import UtcDateTime
from storage.database import Database
from storage.errors import DatabaseUrlError, InvalidTextError, NewerDatabaseError


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """On each kind in turn."""
    yield from opened(database_url)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    yield from opened(f"sqlite:///{tmp_path}/lorad.db")


def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate()
    yield database
    database.dispose()


_INSERT = text("INSERT INTO adapters (tenant, name, next_number, created_at) VALUES ('t', :name, 1, '2026-01-01')")


def insert(database: Database, name: str) -> None:
    with database.session() as session:
        session.execute(_INSERT, {"name": name})


def delete_all_then_fail(database: Database) -> None:
    with database.session() as session:
        session.execute(text("DELETE FROM adapters"))
        raise RuntimeError("boom")


def names(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(text("SELECT name FROM adapters ORDER BY name")).scalars())


def pragma(database: Database, name: str) -> Any:
    with database.reading() as session:
        return session.execute(text(f"PRAGMA {name}")).scalar()


def test_a_session_commits_when_its_block_ends(database: Database) -> None:
    insert(database, "a")

    assert names(database) == ["a"]


def test_a_session_rolls_back_when_its_block_raises(database: Database) -> None:
    insert(database, "a")

    with pytest.raises(RuntimeError, match="boom"):
        delete_all_then_fail(database)

    assert names(database) == ["a"]


def test_what_a_reading_session_changes_is_rolled_back(database: Database) -> None:
    insert(database, "a")

    with database.reading() as session:
        session.execute(text("DELETE FROM adapters"))

    assert names(database) == ["a"]


def test_a_reader_sees_one_state_while_a_writer_commits(database: Database) -> None:
    count = text("SELECT count(*) FROM adapters")
    with database.reading() as session:
        before = session.execute(count).scalar()
        insert(database, "a")
        assert session.execute(count).scalar() == before == 0


def test_sqlite_is_durable_concurrent_and_checks_foreign_keys(sqlite_database: Database) -> None:
    assert pragma(sqlite_database, "journal_mode") == "wal"
    assert pragma(sqlite_database, "synchronous") == 2
    assert pragma(sqlite_database, "foreign_keys") == 1
    assert pragma(sqlite_database, "busy_timeout") == 30_000
    with pytest.raises(IntegrityError), sqlite_database.session() as session:
        session.execute(text("INSERT INTO adapter_aliases (adapter_id, name, version_id) VALUES (9, 'a', 9)"))


def test_a_writing_transaction_takes_the_lock_before_it_reads(sqlite_database: Database) -> None:
    other = Database(sqlite_database._engine.url.render_as_string())
    with other._engine.connect() as raw:
        raw.exec_driver_sql("ROLLBACK")
        raw.exec_driver_sql("PRAGMA busy_timeout=0")
        raw.exec_driver_sql("BEGIN")
        with sqlite_database.session(), pytest.raises(Exception, match="database is locked"):
            raw.exec_driver_sql("DELETE FROM adapters")
    other.dispose()


def count_up(url: str, times: int) -> None:
    database = Database(url)
    database.migrate()
    for _ in range(times):
        with database.session() as session:
            database.serialise(session, "counter")
            # Read, then write: with deferred transactions this is what fails under concurrency.
            number = session.execute(
                text("SELECT next_number FROM adapters WHERE name = 'counter'")
            ).scalar_one_or_none()
            if number is None:
                session.execute(_INSERT, {"name": "counter"})
            else:
                session.execute(text("UPDATE adapters SET next_number = :n"), {"n": number + 1})
    database.dispose()


def test_processes_that_start_together_migrate_once_and_lose_no_update(database_url: str) -> None:
    url = database_url
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count_up, args=(url, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    database = Database(url)
    with database.reading() as session:
        assert session.execute(text("SELECT next_number FROM adapters")).scalar() == 100
    database.dispose()


def test_migrating_again_changes_nothing(database: Database) -> None:
    insert(database, "a")

    database.migrate()

    assert names(database) == ["a"]


def test_a_database_of_a_newer_lorad_is_refused_with_both_revisions(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(NewerDatabaseError, match=r"'9999'.*newest is '\d+'.*Upgrade lorad"):
        database.migrate()


def test_migrating_needs_no_particular_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///50%/lorad.db")

    database.migrate()

    assert (tmp_path / "50%" / "lorad.db").exists()
    database.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("mysql://localhost/x", "'mysql' is not supported"),
        ("not an address", "cannot be parsed"),
        ("postgresql+psycopg://localhost/x", "write postgresql+pg8000://"),
    ],
)
def test_an_unusable_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(DatabaseUrlError, match=re.escape(message)):
        Database(url)


def test_moments_keep_their_zone_on_sqlite() -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    moment = datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=2)))

    stored = column.process_bind_param(moment, dialect)

    assert stored is not None
    assert column.process_result_value(stored.replace(tzinfo=None), dialect) == moment
    assert column.process_result_value(None, dialect) is None
    assert stored.tzinfo is UTC


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())  # noqa: DTZ001 - the point


def test_text_with_a_nul_character_is_kept_whole_or_refused(database: Database) -> None:
    """PostgreSQL has no such text; SQLite does."""
    if database.is_sqlite:
        insert(database, "a\0b")
        assert names(database) == ["a\0b"]
        return
    with pytest.raises(InvalidTextError, match="NUL"):
        insert(database, "a\0b")
    with pytest.raises(InvalidTextError, match="NUL"), database.session() as session:
        session.execute(text("SELECT CAST(:value AS jsonb)"), {"value": '{"a": "\\u0000"}'})
    assert names(database) == []
