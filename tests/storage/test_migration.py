import ast
import importlib
import pkgutil
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

import storage
from storage.database import Base, Database
from storage.migration import configuration

PACKAGES = ("base", "corpus", "adapters", "training", "evaluation", "service")
REVISIONS = sorted((Path(storage.__path__[0]) / "migrations" / "versions").glob("0*.py"))


def load_all_tables() -> None:
    """Import every module of ours named `tables`, so that the metadata is what the application sees."""
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if module.name.endswith(".tables"):
                importlib.import_module(module.name)


def test_the_migrations_make_exactly_the_declared_tables(database_url: str) -> None:
    load_all_tables()
    database = Database(database_url)
    database.migrate()

    with database._engine.connect() as connection:
        config = configuration(connection)
        config.attributes["metadata"] = Base.metadata
        command.check(config)

    assert "adapters" in Base.metadata.tables
    database.dispose()


def test_the_migrations_can_be_taken_back(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()

    with database._engine.begin() as connection:
        command.downgrade(configuration(connection), "base")
        left = inspect(connection).get_table_names()

    assert left == ["alembic_version"]
    database.dispose()


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda path: path.stem)
def test_a_revision_imports_nothing_of_ours(revision: Path) -> None:
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(revision.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }

    assert {name.split(".")[0] for name in imported} <= {"sqlalchemy", "alembic"}
