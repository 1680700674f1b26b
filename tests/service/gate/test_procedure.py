from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from adapters.aliases import Move
from evaluation.runs.run import NewRun
from evaluation.runs.runs import RunFilter
from evaluation.suites.store import StoredSuite
from service.gate.errors import UnknownCheckError, UnknownGateError
from service.gate.procedure import Bench
from tests.service.gate.conftest import BASE_DIGEST, BENCH, POLICY, TENANT, GateHouse, prepare


def test_a_better_version_is_promoted_and_a_worse_one_refused(house: GateHouse) -> None:
    first, second, third = (house.publish() for _ in range(3))
    house.set()

    check = house.advance(house.ask(first))
    assert check.status == "evaluating"
    assert [model.model for model in house.runs.get(TENANT, check.runs[0].run_id).models] == ["support:1", "tiny"]
    house.evaluate({"support:1": 6, "tiny": 3})
    assert house.advance(check).status == "promoted"
    assert house.points_to() == first

    check = house.advance(house.ask(second))
    assert [model.model for model in house.runs.get(TENANT, check.runs[0].run_id).models] == ["support:2", "support:1"]
    house.evaluate({"support:2": 9, "support:1": 6})
    assert house.advance(check).status == "promoted"

    check = house.advance(house.ask(third))
    house.evaluate({"support:3": 1, "support:2": 9})
    check = house.advance(check)
    assert check.status == "refused"
    assert check.reason is not None
    assert "exact_match 0.1 on tickets, support:2 has 0.9" in check.reason
    assert house.points_to() == second

    refused, promoted, *_ = house.registry.history(TENANT, "support", alias="prod")
    assert (refused.kind, refused.from_number, refused.number) == ("refuse", second, third)
    assert (promoted.kind, promoted.actor) == ("set", "gate")
    assert refused.reason == check.reason
    details: Any = refused.details
    assert details["gate"] == check.id
    assert details["policy"] == POLICY.replace("prod if", "prod on tickets if")
    assert details["evaluations"] == {"tickets": check.runs[0].run_id}
    finding = details["findings"][0]
    assert (finding["candidate"], finding["current"], finding["holds"]) == (0.1, 0.9, False)
    assert finding["difference"]["num_cases"] == 10

    # A refusal is no move: going back leads to what was there before, not to what was refused.
    assert house.registry.rollback(TENANT, "support", "prod").number == first


def test_one_suite_of_several_is_enough_to_refuse(house: GateHouse) -> None:
    first, second = house.publish(), house.publish()
    house.set(suites=("tickets", "sql"))
    house.registry.set_alias(TENANT, f"support:{first}", "prod")
    check = house.advance(house.ask(second))
    assert [run.suite for run in check.runs] == ["tickets", "sql"]
    assert house.evaluate_next({"support:2": 9, "support:1": 6})
    assert house.advance(check).status == "evaluating"
    [last] = house.runs.list(TENANT, wanted=RunFilter(status="queued"))
    assert house.evaluate_next({"support:2": 5, "support:1": 6})
    refused = house.advance(check)
    assert refused.status == "refused"
    assert f"exact_match 0.5 on {last.suite.name}, support:1 has 0.6" in (refused.reason or "")
    assert house.points_to() == first


def test_another_alias_that_does_not_exist_is_no_base(house: GateHouse) -> None:
    number = house.publish()
    house.set("promote to prod if exact_match >= canary")
    check = house.advance(house.ask(number))
    assert (check.status, check.runs) == ("failed", [])
    assert "has no alias 'canary'" in (check.reason or "")


def test_nothing_is_prepared_while_there_is_no_room(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    house.runs.max_open = 0
    prepared: list[str] = []

    def counting(tenant: str, suite: StoredSuite, models: tuple[str | None, ...], actor: str) -> NewRun:
        prepared.append(suite.name)
        return prepare(tenant, suite, models, actor)

    bench, asked = Bench(base_digest=BASE_DIGEST, prepare=counting), house.ask(number)
    assert not house.procedure.advance(asked, bench)
    assert (house.get(asked).status, prepared) == ("waiting", [])
    house.runs.max_open = 1
    assert house.procedure.advance(asked, bench)
    assert prepared == ["tickets"]


def test_an_alias_that_moved_meanwhile_is_left_alone(house: GateHouse) -> None:
    first, second, third = (house.publish() for _ in range(3))
    house.set()
    house.registry.set_alias(TENANT, f"support:{first}", "prod")
    check = house.advance(house.ask(third))
    house.registry.promote(TENANT, "support", [Move(alias="prod", number=second)])
    house.evaluate({"support:3": 9, "support:1": 2})
    check = house.advance(check)
    assert check.status == "refused"
    assert "points to version 2, but version 1 was expected" in (check.reason or "")
    assert house.points_to() == second


def test_an_alias_that_appeared_meanwhile_is_left_alone(house: GateHouse) -> None:
    first, second = house.publish(), house.publish()
    house.set()
    check = house.advance(house.ask(second))
    assert check.expected == 0
    house.registry.set_alias(TENANT, f"support:{first}", "prod")
    house.evaluate({"support:2": 9, "tiny": 2})
    assert house.advance(check).status == "refused"
    assert house.points_to() == first


def test_a_step_that_is_done_twice_is_done_once(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    asked = house.ask(number)
    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(lambda _: house.procedure.advance(asked, BENCH), range(4)))
    assert sorted(begun) == [False, False, False, True]
    assert len(house.runs.list(TENANT)) == 1
    house.evaluate({"support:1": 9, "tiny": 2})
    check = house.get(asked)
    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda _: house.procedure.advance(check, BENCH), range(4)))
    assert sorted(settled) == [False, False, False, True]
    assert [event.kind for event in house.registry.history(TENANT, "support", alias="prod")] == ["set"]


def test_a_partial_evaluation_decides_nothing(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    check = house.advance(house.ask(number))
    house.evaluate({"support:1": 9, "tiny": 2}, broken="the judge 'j' cannot be asked: it cannot be reached.")
    check = house.advance(check)
    assert check.status == "failed"
    assert "is partial" in (check.reason or "")
    assert "the judge 'j' cannot be asked" in (check.reason or "")
    assert house.points_to() is None
    [event] = house.registry.history(TENANT, "support", alias="prod")
    assert (event.kind, event.reason) == ("refuse", check.reason)


def test_a_cancelled_evaluation_decides_nothing(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    check = house.advance(house.ask(number))
    house.runs.cancel(TENANT, check.runs[0].run_id)
    assert house.advance(check).status == "failed"
    assert house.points_to() is None


def test_what_the_alias_points_to_needs_no_gate(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    house.registry.set_alias(TENANT, "support:1", "prod")
    check = house.advance(house.ask(number))
    assert check.status == "failed"
    assert "points to support:1 already" in (check.reason or "")


def test_a_candidate_that_was_deleted_fails_its_check(house: GateHouse) -> None:
    number = house.publish()
    house.publish()
    house.set()
    check = house.advance(house.ask(number))
    house.registry.delete(TENANT, "support", number)
    house.evaluate({"support:1": 9, "tiny": 2})
    check = house.advance(check)
    assert check.status == "failed"
    assert house.points_to() is None


def test_a_suite_that_is_gone_fails_the_check(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    house.suites.delete(TENANT, "tickets")
    check = house.advance(house.ask(number))
    assert check.status == "failed"
    assert "tickets" in (check.reason or "")


def test_a_candidate_of_another_base_waits_for_a_server_of_that_base(house: GateHouse) -> None:
    number = house.publish(base_digest="sha256:" + "c" * 64)
    house.set()
    assert house.advance(house.ask(number)).status == "waiting"


def test_who_stands_before_the_gate_already_is_not_asked_twice(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    assert house.ask(number).id == house.ask(number).id
    assert len(house.gates.checks(TENANT, "support").data) == 1


def test_a_tenant_sees_its_own_gates_only(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    check = house.ask(number)
    with pytest.raises(UnknownGateError):
        house.gates.get("other", "support", "prod")
    with pytest.raises(UnknownCheckError):
        house.gates.check("other", "support", "prod", check.id)
    with pytest.raises(UnknownCheckError):
        house.gates.check(TENANT, "support", "canary", check.id)
    assert house.gates.checks("other", "support").data == []


def test_checks_outlive_their_gate(house: GateHouse) -> None:
    number = house.publish()
    house.set()
    check = house.advance(house.ask(number))
    house.gates.delete(TENANT, "support", "prod")
    house.evaluate({"support:1": 9, "tiny": 2})
    assert house.advance(check).status == "promoted"
    with pytest.raises(UnknownGateError):
        house.ask(number)
