import pytest

from evaluation.runs.claims import NewCase, RunClaims
from evaluation.runs.errors import OtherBaseError, RunStateError, StaleRunError
from evaluation.runs.runs import Runs
from evaluation.suites.suite import Suite
from tests.evaluation.runs.conftest import BASE, TENANT, case, new_run, result_of


def test_the_run_that_waits_longest_is_claimed_once(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    made = [runs.create(TENANT, new_run(suite)).id for _ in range(2)]
    claimed = [claims.claim(BASE) for _ in range(3)]
    assert [claim and claim.run.id for claim in claimed] == [*made, None]
    assert runs.get(TENANT, made[0]).status == "running"


def test_only_runs_of_the_same_base_are_claimed(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    other = "sha256:" + "c" * 64
    made = runs.create(TENANT, new_run(suite, base=other))
    assert claims.claim(BASE) is None
    claimed = claims.claim(other)
    assert claimed is not None
    assert claimed.run.id == made.id


def test_what_a_lost_server_had_is_taken_up_with_all_that_it_stored(
    runs: Runs, claims: RunClaims, lapsed: RunClaims, suite: Suite
) -> None:
    lost = lapsed.begin(TENANT, new_run(suite))
    lapsed.record(lost, [case(0, 0), case(1, 0)])
    taken = claims.claim(BASE)
    assert taken is not None
    assert taken.run.id == lost.run.id
    assert {at: list(found) for at, found in claims.recorded(taken).items()} == {0: [0], 1: [0]}
    assert claims.recorded(taken)[0][0] == case(0, 0).result
    assert "taken up again: its server was lost; 2 of 4 answers are left" in runs.events(TENANT, lost.run.id)[0].message


def test_a_server_that_comes_back_changes_nothing(
    runs: Runs, claims: RunClaims, lapsed: RunClaims, suite: Suite
) -> None:
    lost = lapsed.begin(TENANT, new_run(suite))
    assert claims.claim(BASE)
    results = [result_of(0, []), result_of(1, [])]
    for write in (
        lambda: lapsed.record(lost, [case(0, 0)]),
        lambda: lapsed.renew(lost),
        lambda: lapsed.finish(lost, results),
        lambda: lapsed.fail(lost, "no"),
        lambda: lapsed.cancel(lost),
    ):
        with pytest.raises(StaleRunError):
            write()
    lapsed.release(lost)
    run = runs.get(TENANT, lost.run.id)
    assert (run.status, run.done) == ("running", 0)


def test_a_case_is_stored_once(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    claims.record(claim, [case(0, 0, 1.0)])
    claims.record(claim, [case(0, 0, 0.0), case(0, 1)])
    assert runs.get(TENANT, claim.run.id).done == 2
    assert claims.recorded(claim)[0][0].scores == {"exact_match": 1.0}


@pytest.mark.parametrize("news", [(), (case(0, 0),)], ids=["none", "a case"])
def test_a_lease_is_renewed_by_news(
    claims: RunClaims, lapsed: RunClaims, suite: Suite, news: tuple[NewCase, ...]
) -> None:
    claim = lapsed.begin(TENANT, new_run(suite))
    claims.record(claim, news)
    assert claims.claim(BASE) is None
    lapsed.renew(claim)
    assert claims.claim(BASE) is not None


def test_a_run_that_has_lost_its_server_is_resumed_and_one_that_runs_is_not(
    claims: RunClaims, lapsed: RunClaims, suite: Suite
) -> None:
    lost = lapsed.begin(TENANT, new_run(suite))
    taken = claims.resume(TENANT, lost.id, BASE)
    assert taken.token > lost.token
    with pytest.raises(RunStateError, match="is running and cannot be resumed"):
        claims.resume(TENANT, lost.id, BASE)


def test_a_run_goes_on_with_its_own_base_only(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    run = runs.create(TENANT, new_run(suite))
    with pytest.raises(OtherBaseError, match=f"{run.id} began on the base {BASE[:19]}"):
        claims.resume(TENANT, run.id, "sha256:" + "0" * 64)
    assert runs.get(TENANT, run.id).status == "queued"


def test_what_is_released_waits_for_the_next_server(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    claims.release(claim)
    assert runs.get(TENANT, claim.run.id).status == "queued"
    again = claims.claim(BASE)
    assert again is not None
    assert again.token > claim.token


def test_a_run_that_kills_its_servers_is_given_up(runs: Runs, lapsed: RunClaims, suite: Suite) -> None:
    made = runs.create(TENANT, new_run(suite))
    assert [lapsed.claim(BASE) is not None for _ in range(4)] == [True, True, True, False]
    run = runs.get(TENANT, made.id)
    assert run.status == "failed"
    assert run.error is not None
    assert "3 servers in a row were lost" in run.error


def test_getting_on_counts_the_attempts_anew(runs: Runs, lapsed: RunClaims, suite: Suite) -> None:
    made = runs.create(TENANT, new_run(suite))
    for index in range(2):
        for _ in range(2):
            claim = lapsed.claim(BASE)
        assert claim is not None
        lapsed.record(claim, [case(0, index)])
    assert lapsed.claim(BASE) is not None
    assert runs.get(TENANT, made.id).status == "running"


def test_a_cancelled_run_takes_no_more_cases(runs: Runs, claims: RunClaims, suite: Suite) -> None:
    claim = claims.begin(TENANT, new_run(suite))
    runs.cancel(TENANT, claim.run.id)
    with pytest.raises(StaleRunError, match="no longer held"):
        claims.record(claim, [case(0, 0)])
    assert runs.get(TENANT, claim.run.id).done == 0
