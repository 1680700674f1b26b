from collections.abc import Iterator
from pathlib import Path

import pytest

from service.files.files import Files
from storage.database import Database
from storage.objects.local import LocalObjects

ROWS = b'{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n'


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "objects")


@pytest.fixture
def files(database: Database, objects: LocalObjects, tmp_path: Path) -> Files:
    return Files(database, objects, cache=tmp_path / "cache", max_bytes=1000, max_files=8)
