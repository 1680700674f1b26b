import pytest
from sqlalchemy import func, select

from evaluation.runs.claims import RunClaims
from evaluation.runs.errors import RunStateError, TooManyRunsError, UnknownRunError
from evaluation.runs.runs import RunFilter, Runs
from evaluation.runs.tables import RunCaseRow, RunEventRow, RunModelRow
from evaluation.suites.errors import UnknownSuiteError
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite
from storage.database import Database
from tests.evaluation.runs.conftest import BASE, MODELS, TENANT, VERSION, case, make_suite, new_run, result_of


def test_a_new_run_waits_with_all_that_was_asked(runs: Runs, suite: Suite) -> None:
    asked = new_run(suite)
    made = runs.create(TENANT, asked)
    assert made == runs.get(TENANT, made.id)
    assert made.status == "queued"
    assert (made.suite, made.models, made.scorers, made.generation) == (
        asked.suite,
        asked.models,
        asked.scorers,
        asked.generation,
    )
    assert (made.done, made.total, made.results, made.error) == (0, 4, None, None)


def test_a_run_is_its_tenants(runs: Runs, suite: Suite) -> None:
    made = runs.create(TENANT, new_run(suite))
    for read in (runs.get, runs.cancel, runs.resume, runs.delete, runs.events, runs.results):
        with pytest.raises(UnknownRunError):
            read("other", made.id)
    assert runs.list("other") == []


def test_lists_are_pages_newest_first(runs: Runs, suite: Suite) -> None:
    made = [runs.create(TENANT, new_run(suite)).id for _ in range(3)][::-1]
    assert [run.id for run in runs.list(TENANT)] == made
    assert [run.id for run in runs.list(TENANT, limit=2)] == made[:2]
    assert [run.id for run in runs.list(TENANT, after=made[1])] == made[2:]


def test_lists_are_narrowed_by_state_suite_and_version(
    runs: Runs, suite: Suite, claims: RunClaims, database: Database
) -> None:
    other = make_suite("other", cases=1)
    first, second = runs.create(TENANT, new_run(suite)), runs.create(TENANT, new_run(other), other)
    assert Suites(database).content(TENANT, other.digest) == other
    assert claims.claim(BASE)
    assert [run.id for run in runs.list(TENANT, wanted=RunFilter(status="running"))] == [first.id]
    assert [run.id for run in runs.list(TENANT, wanted=RunFilter(suite="other"))] == [second.id]
    assert [run.id for run in runs.list(TENANT, wanted=RunFilter(suite=suite.digest))] == [first.id]
    assert len(runs.list(TENANT, wanted=RunFilter(model_digest=VERSION))) == 2
    assert runs.list(TENANT, wanted=RunFilter(model_digest="sha256:" + "0" * 64)) == []


def test_as_many_wait_as_may(runs: Runs, suite: Suite) -> None:
    made = [runs.create(TENANT, new_run(suite)) for _ in range(3)]
    with pytest.raises(TooManyRunsError, match="3 evaluations wait or run"):
        runs.create(TENANT, new_run(suite))
    runs.create("other", new_run(suite))
    runs.cancel(TENANT, made[0].id)
    runs.create(TENANT, new_run(suite))


def test_a_cancelled_run_keeps_what_it_has_and_goes_on_when_it_is_resumed(
    runs: Runs, claims: RunClaims, suite: Suite
) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    claims.record(claim, [case(0, 0)])
    assert runs.cancel(TENANT, claim.run.id).status == "cancelled"
    assert runs.cancel(TENANT, claim.run.id).done == 1
    with pytest.raises(RunStateError, match="cancelled and cannot be read as a result"):
        runs.results(TENANT, claim.run.id)
    resumed = runs.resume(TENANT, claim.run.id)
    assert (resumed.status, resumed.done, resumed.finished_at) == ("queued", 1, None)
    again = claims.claim(BASE)
    assert again is not None
    assert {at: list(found) for at, found in claims.recorded(again).items()} == {0: [0], 1: []}


def test_a_resumed_partial_run_forgets_cases_without_a_score(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    cases = [case(0, 0), case(0, 1), case(1, 0), case(1, 1, error="the judge is down")]
    claims.record(claim, cases)
    partial = claims.finish(claim, [result_of(0, cases), result_of(1, cases)])
    assert (partial.status, partial.error) == ("partial", "1 of 4 answers have no score: the judge is down")
    assert runs.results(TENANT, claim.run.id)[1].cases == tuple(each.result for each in cases[2:])
    resumed = runs.resume(TENANT, claim.run.id)
    assert (resumed.status, resumed.done, resumed.results, resumed.error) == ("queued", 3, None, None)


def test_a_completed_run_is_neither_cancelled_nor_resumed(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    cases = [case(position, index) for position in (0, 1) for index in (0, 1)]
    claims.record(claim, cases)
    done = claims.finish(claim, [result_of(0, cases), result_of(1, cases)])
    assert done.status == "completed"
    assert done.results is not None
    assert [result.model for result in done.results] == ["tiny", "support:3"]
    for forbidden in (runs.cancel, runs.resume):
        with pytest.raises(RunStateError, match="completed"):
            forbidden(TENANT, done.id)


def test_results_are_given_back_to_the_last_bit(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    cases = [case(0, 0, 0.1 + 0.2), case(0, 1, float("inf")), case(1, 0), case(1, 1, float("nan"))]
    claims.record(claim, cases)
    claims.finish(claim, [result_of(0, cases), result_of(1, cases)])
    base, adapter = runs.results(TENANT, claim.run.id)
    assert base == result_of(0, cases)
    assert str(adapter.cases[1].scores["exact_match"]) == "nan"


def test_cases_are_pages(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    claims.record(claim, [case(1, 1), case(1, 0)])
    assert [each.index for each in runs.cases(TENANT, claim.run.id, 1)] == [0, 1]
    assert [each.index for each in runs.cases(TENANT, claim.run.id, 1, after=0)] == [1]
    assert [each.index for each in runs.cases(TENANT, claim.run.id, 1, limit=1)] == [0]
    assert runs.cases(TENANT, claim.run.id, 0) == []
    with pytest.raises(UnknownRunError, match="2"):
        runs.cases(TENANT, claim.run.id, 2)


def test_events_tell_the_story(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    made = runs.create(TENANT, new_run(suite))
    claim = claims.claim(BASE)
    assert claim is not None
    claims.record(claim, [case(0, 0)])
    claims.fail(claim, "case 1 is too long")
    told = runs.events_since(TENANT, made.id, 0)
    assert [event.message for event in told] == [
        f"{made.id} waits: 4 answers to measure",
        "The evaluation runs; 4 of 4 answers are left",
        "1 of 4 answers measured",
        "The evaluation failed: case 1 is too long",
    ]
    assert told[2].data == {"done": 1, "total": 4}
    assert list(runs.events(TENANT, made.id)) == list(told)[::-1]
    assert [event.number for event in runs.events(TENANT, made.id, before=told[1].number)] == [told[0].number]
    assert runs.events_since(TENANT, made.id, told[2].number) == [told[3]]


def test_a_deleted_run_leaves_nothing(runs: Runs, claims: RunClaims, suite: Suite, database: Database) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    claims.record(claim, [case(0, 0)])
    with pytest.raises(RunStateError, match="running"):
        runs.delete(TENANT, claim.run.id)
    runs.cancel(TENANT, claim.run.id)
    runs.delete(TENANT, claim.run.id)
    with pytest.raises(UnknownRunError):
        runs.get(TENANT, claim.run.id)
    with database.reading() as session:
        for table in (RunCaseRow, RunEventRow, RunModelRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    with pytest.raises(UnknownSuiteError):
        Suites(database).content(TENANT, suite.digest)
    assert Suites(database).content("other", suite.digest) == suite


def test_models_are_as_they_were_asked_for_and_pinned(runs: Runs, suite: Suite) -> None:
    assert runs.create(TENANT, new_run(suite)).models == MODELS
