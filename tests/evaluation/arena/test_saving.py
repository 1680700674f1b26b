from concurrent.futures import ThreadPoolExecutor

import pytest

from evaluation.arena.saving import case_of, save
from evaluation.suites.errors import InvalidSuiteError
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite
from storage.database import Database
from tests.evaluation.arena.conftest import QUESTION


@pytest.fixture
def suites(database: Database) -> Suites:
    return Suites(database)


def test_a_new_name_begins_a_suite(suites: Suites) -> None:
    case = case_of(QUESTION, "On its way.", ["orders"], {"label": "yes"})

    saved = save(suites, "t", "mine", [case])

    assert suites.get("t", "mine").suite == saved.suite
    assert saved.suite.cases == (case,)
    assert [scorer.name for scorer in saved.suite.scorers] == ["exact_match", "rouge_l"]


def test_a_known_suite_keeps_what_it_has(suites: Suites) -> None:
    known = Suite(name="mine", description="Ours", thresholds={"exact_match": 0.5}, cases=(case_of(QUESTION, "one"),))
    first = suites.add("t", known)

    saved = save(suites, "t", "mine", [case_of(QUESTION, "two")])

    assert (saved.suite.description, saved.suite.thresholds) == ("Ours", {"exact_match": 0.5})
    assert [case.completion for case in saved.suite.cases] == ["one", "two"]
    assert suites.get("t", f"mine@{first.digest}").suite == known


def test_cases_that_are_saved_at_once_are_all_kept(suites: Suites) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: save(suites, "t", "mine", [case_of(QUESTION, f"answer {number}")]), range(8)))

    completions = {case.completion for case in suites.get("t", "mine").suite.cases}
    assert completions == {f"answer {number}" for number in range(8)}


def test_a_case_that_the_suite_cannot_measure_is_refused(suites: Suites) -> None:
    suites.add("t", Suite.of({"name": "mine", "scorers": ["classification"], "cases": [
        {"prompt": "x", "completion": "y", "fields": {"label": "y", "labels": ["y", "n"]}}
    ]}))  # fmt: skip

    with pytest.raises(InvalidSuiteError, match="case 1"):
        save(suites, "t", "mine", [case_of(QUESTION, "")])

    assert len(suites.get("t", "mine").suite.cases) == 1
