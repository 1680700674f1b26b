"""Running the migrations from code: no alembic.ini, no working folder, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import Connection, Engine, func, select

from storage.errors import NewerDatabaseError

_SCRIPTS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6C6F726164
"""PostgreSQL lock number: "lorad" in ASCII."""


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one open connection."""
    config = Config()
    # Alembic interpolates %(here)s in options, so a per cent sign in the path is written twice.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine, lock_file: Path | None) -> None:
    """Upgrade to the newest revision in one transaction, under the file lock or PostgreSQL's advisory lock.

    Raises:
        NewerDatabaseError: the database carries a revision this code does not know.
    """
    with _exclusive(lock_file), engine.begin() as connection:
        if lock_file is None:
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        config = configuration(connection)
        _refuse_newer(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, "head")


@contextmanager
def _exclusive(lock_file: Path | None) -> Iterator[None]:
    if lock_file is None:
        yield
        return
    lock_file.absolute().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock_file):
        yield


def _refuse_newer(connection: Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise NewerDatabaseError(found=revision, newest_known=str(scripts.get_current_head()))
