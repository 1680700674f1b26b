import ast
import importlib
import pkgutil
from pathlib import Path

import pytest
from alembic import command

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


def test_the_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    load_all_tables()
    database = Database(f"sqlite:///{tmp_path}/lorad.db")
    database.migrate()

    with database._engine.connect() as connection:
        config = configuration(connection)
        config.attributes["metadata"] = Base.metadata
        command.check(config)

    assert "adapters" in Base.metadata.tables
    database.dispose()


def test_the_migrations_can_be_taken_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/lorad.db")
    database.migrate()

    with database._engine.begin() as connection:
        command.downgrade(configuration(connection), "base")
        left = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()

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
