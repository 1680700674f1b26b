"""An arena on each kind of database, and battles in it."""

from collections.abc import Iterator
from random import Random

import pytest

from evaluation.arena.arena import Arena
from evaluation.arena.battle import Answer, Battle
from storage.database import Database

QUESTION = ({"role": "user", "content": "Where is my order?"},)


def answer(model: str, text: str | None = None) -> Answer:
    return Answer(model=model, digest=f"sha256:{model}", text=text or f"{model} says", finish_reason="stop")


def fight(arena: Arena, one: str = "a:1", other: str = "base", tenant: str = "t") -> Battle:
    """A battle; `one` stands on a side that chance gave it."""
    return arena.create(tenant, QUESTION, (answer(one), answer(other)), {"temperature": 0.0})


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def arena(database: Database) -> Arena:
    return Arena(database, Random(7))
