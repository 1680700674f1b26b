import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.gate.gate import GateCheck
from storage.database import Database
from tests.conftest import REPOSITORY
from tests.service.gate.conftest import BENCH, TENANT, GateHouse, make_house
from tests.service.gate.dying import PLACES

EVALUATIONS = {"support:1": 9, "tiny": 2}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'lorad.db'}"


@pytest.fixture
def house(url: str, tmp_path: Path) -> Iterator[GateHouse]:
    database = Database(url)
    database.migrate()
    yield make_house(database, tmp_path)
    database.dispose()


def die(url: str, folder: Path, place: str) -> None:
    command = [sys.executable, "-m", "tests.service.gate.dying", url, str(folder), place]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL


def moves(house: GateHouse) -> list[str]:
    return [event.kind for event in house.registry.history(TENANT, "support", alias="prod")]


def asked(house: GateHouse) -> GateCheck:
    house.publish()
    house.set()
    return house.ask(1)


def test_a_server_that_dies_while_it_begins_leaves_nothing_half_begun(
    house: GateHouse, url: str, tmp_path: Path
) -> None:
    check = asked(house)
    die(url, tmp_path, "before the runs are rows")
    assert house.get(check).status == "waiting"
    assert house.runs.list(TENANT) == []
    die(url, tmp_path, "after the commit")
    assert house.get(check).status == "evaluating"
    house.advance(house.get(check))
    assert len(house.runs.list(TENANT)) == 1


@pytest.mark.parametrize("place", [place for place in PLACES if place != "before the runs are rows"])
def test_a_server_that_dies_between_evaluation_and_promotion_promotes_once(
    house: GateHouse, url: str, tmp_path: Path, place: str
) -> None:
    check = house.advance(asked(house))
    house.evaluate(EVALUATIONS)
    die(url, tmp_path, place)
    assert house.get(check).status == "evaluating"
    assert house.points_to() is None
    assert moves(house) == []
    assert house.advance(house.get(check)).status == "promoted"
    assert house.points_to() == 1
    assert moves(house) == ["set"]


def test_a_server_that_dies_after_the_promotion_does_not_promote_again(
    house: GateHouse, url: str, tmp_path: Path
) -> None:
    check = house.advance(asked(house))
    house.evaluate(EVALUATIONS)
    die(url, tmp_path, "after the commit")
    assert house.get(check).status == "promoted"
    assert list(house.gates.open_checks()) == []
    # A second server that saw the check before the first one decided.
    assert not house.procedure.advance(check, BENCH)
    assert moves(house) == ["set"]
