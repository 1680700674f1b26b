from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from evaluation.runs.runs import Runs
from evaluation.suites.contents import keep
from evaluation.suites.errors import TooManySuitesError, UnknownSuiteError
from evaluation.suites.store import Suites
from evaluation.suites.tables import SuiteContentRow
from storage.database import Database
from tests.evaluation.runs.conftest import TENANT, make_suite, new_run


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.dispose()


@pytest.fixture
def suites(database: Database) -> Suites:
    return Suites(database, max_suites=3)


def num_contents(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(SuiteContentRow)) or 0


def test_a_suite_is_given_back_as_it_was(suites: Suites) -> None:
    suite = make_suite()
    added = suites.add(TENANT, suite)
    assert (added.name, added.digest, added.num_cases) == ("tickets", suite.digest, 2)
    assert suites.get(TENANT, "tickets").suite == suite
    assert suites.content(TENANT, suite.digest) == suite


def test_the_version_that_was_added_last_is_the_newest(suites: Suites) -> None:
    first, second = make_suite(), make_suite(cases=3)
    for suite in (first, second):
        suites.add(TENANT, suite)
    assert suites.get(TENANT, "tickets").digest == second.digest
    assert suites.get(TENANT, f"tickets@{first.digest}").suite == first
    assert suites.get(TENANT, f"tickets@{first.digest[:20]}").suite == first
    suites.add(TENANT, first)
    assert [each.digest for each in suites.list(TENANT, "tickets")] == [first.digest, second.digest]
    assert [each.digest for each in suites.list(TENANT)] == [first.digest]


@pytest.mark.parametrize("reference", ["", "other", "tickets@", "tickets@sha256:", "tickets@sha256:00000000", "a/b"])
def test_what_is_not_there_is_told(suites: Suites, reference: str) -> None:
    suites.add(TENANT, make_suite())
    with pytest.raises(UnknownSuiteError):
        suites.get(TENANT, reference)


def test_a_suite_is_its_tenants(suites: Suites) -> None:
    suite = make_suite()
    suites.add(TENANT, suite)
    assert suites.list("other") == []
    for ask in (lambda: suites.get("other", "tickets"), lambda: suites.content("other", suite.digest)):
        with pytest.raises(UnknownSuiteError):
            ask()


def test_as_many_versions_are_kept_as_may_be(suites: Suites) -> None:
    for cases in (1, 2, 3):
        suites.add(TENANT, make_suite(cases=cases))
    with pytest.raises(TooManySuitesError, match="3 versions"):
        suites.add(TENANT, make_suite(cases=4))
    suites.add(TENANT, make_suite(cases=1))
    suites.delete(TENANT, f"tickets@{make_suite(cases=2).digest}")
    suites.add(TENANT, make_suite(cases=4))


def test_a_deleted_suite_stays_for_the_runs_that_used_it(suites: Suites, database: Database) -> None:
    used, unused = make_suite(cases=1), make_suite(cases=2)
    for suite in (used, unused):
        suites.add(TENANT, suite)
    runs = Runs(database)
    run = runs.create(TENANT, new_run(used))
    assert set(suites.delete(TENANT, "tickets")) == {used.digest, unused.digest}
    assert suites.list(TENANT) == []
    assert suites.content(TENANT, used.digest) == used
    assert num_contents(database) == 1
    runs.cancel(TENANT, run.id)
    runs.delete(TENANT, run.id)
    assert num_contents(database) == 0


def test_a_content_is_stored_once(suites: Suites, database: Database) -> None:
    with database.session() as session:
        keep(database, session, TENANT, make_suite())
    suites.add(TENANT, make_suite())
    assert num_contents(database) == 1
    suites.delete(TENANT, "tickets")
    assert num_contents(database) == 0
