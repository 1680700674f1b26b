from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.runs.claims import RunClaims
from service.evaluation.renewal import renewed
from storage.database import Database
from tests.evaluation.runs.conftest import BASE, TENANT, make_suite, new_run
from tests.service.api.conftest import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/lorad.db")
    database.migrate()
    yield database
    database.dispose()


def test_a_claim_is_held_while_one_answer_takes_longer_than_a_lease(database: Database) -> None:
    claims, lapsed = (RunClaims(database, server="x", lease_seconds=seconds, max_open=3) for seconds in (60, -1))
    suite = make_suite()
    claim = lapsed.begin(TENANT, new_run(suite), suite)
    with renewed(claims, claim, 0.03):
        wait_until(lambda: claims.claim(BASE) is None)
        assert claims.claim(BASE) is None


def test_a_claim_that_is_over_ends_nothing_but_its_renewal(database: Database) -> None:
    claims = RunClaims(database, server="x", lease_seconds=60, max_open=3)
    suite = make_suite()
    claim = claims.begin(TENANT, new_run(suite), suite)
    claims.cancel(claim)
    with renewed(claims, claim, 0.03):
        pass
