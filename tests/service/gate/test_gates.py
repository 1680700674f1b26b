import pytest

from adapters.errors import InvalidNameError
from evaluation.errors import GateError
from evaluation.gate.text import parse, to_text
from evaluation.suites.errors import UnknownSuiteError
from service.gate.errors import UnknownGateError
from service.gate.gates import Gates
from service.gate.reading import read_policy
from service.gate.shown import gate_to_json
from service.gate.tables import GateCheckRow
from tests.service.gate.conftest import TENANT, GateHouse

TEXT = "promote to prod on tickets if exact_match >= prod"


def test_a_gate_is_set_before_its_adapter_exists_and_again_in_its_place(house: GateHouse) -> None:
    house.set()
    house.gates.set(TENANT, "new", parse(TEXT), "ann")
    second = parse("promote to prod on tickets if exact_match >= 0.9")
    house.gates.set(TENANT, "new", second, "bob")
    house.gates.set(TENANT, "new", parse(TEXT.replace("prod", "canary")), "ann")
    gate = house.gates.get(TENANT, "new", "prod")
    assert (gate.policy, gate.actor) == (second, "bob")
    assert [each.alias for each in house.gates.list(TENANT, "new")] == ["canary", "prod"]
    assert gate_to_json(gate)["policy"] == to_text(second)


def test_what_cannot_be_a_gate_is_refused(house: GateHouse) -> None:
    with pytest.raises(GateError, match="names no suite to run"):
        house.gates.set(TENANT, "support", parse("promote to prod if exact_match >= prod"), "ann")
    with pytest.raises(UnknownSuiteError, match="no suite 'tickets'"):
        house.gates.set(TENANT, "support", parse(TEXT), "ann")
    with pytest.raises(InvalidNameError):
        house.gates.set(TENANT, "Support!", parse(TEXT), "ann")
    with pytest.raises(InvalidNameError):
        house.gates.set(TENANT, "support", parse(TEXT.replace("prod", "Prod")), "ann")
    with pytest.raises(UnknownGateError, match="support@prod has no gate"):
        house.ask(1)


@pytest.mark.parametrize(
    "conditions",
    ["f1 >= prod", "f1 >= 0.5 on tickets", "exact_match >= prod and no suite drops significantly in f1"],
)
def test_a_metric_that_no_scorer_of_the_suites_gives_is_refused(house: GateHouse, conditions: str) -> None:
    house.set()
    before = house.gates.get(TENANT, "support", "prod")
    with pytest.raises(GateError, match="gives f1; they give exact_match"):
        house.gates.set(TENANT, "support", parse(f"promote to prod on tickets if {conditions}"), "ann")
    assert house.gates.get(TENANT, "support", "prod") == before


def test_as_many_gates_are_kept_as_may(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.gate.gates._MAX_GATES", 1)
    house.set()
    house.set()
    with pytest.raises(Exception, match="1 gates are kept, which is the limit"):
        house.gates.set(TENANT, "other", parse(TEXT), "ann")


def test_as_many_checks_wait_as_may(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.gate.gates._MAX_OPEN", 1)
    house.set()
    house.ask(1)
    with pytest.raises(Exception, match="1 checks of gates wait or run, which is the limit"):
        house.ask(2)


def test_checks_come_newest_first_in_pages(house: GateHouse) -> None:
    house.set()
    asked = [house.ask(number).id for number in (1, 2, 3)]
    first = house.gates.checks(TENANT, "support", "prod", limit=2)
    assert [check.id for check in first.data] == [asked[2], asked[1]]
    assert first.has_more
    rest = house.gates.checks(TENANT, "support", after=first.data[-1].id, limit=2)
    assert [check.id for check in rest.data] == [asked[0]]
    assert not rest.has_more
    assert isinstance(house.gates, Gates)


@pytest.mark.parametrize(
    "value",
    [
        "promote if exact_match >= prod",
        "promote to prod on tickets if exact_match >= prod",
        {"conditions": [{"kind": "metric", "metric": "exact_match", "comparison": ">=", "to": "prod"}]},
        {
            "alias": "prod",
            "conditions": [{"kind": "metric", "metric": "exact_match", "comparison": ">=", "to": "prod"}],
        },
    ],
)
def test_a_policy_is_read_from_text_and_object(value: str | dict[str, object]) -> None:
    policy = read_policy(value, "prod", ["tickets"])
    assert policy == parse("promote to prod on tickets if exact_match >= prod")


def test_a_policy_of_another_alias_is_refused() -> None:
    with pytest.raises(GateError, match="gate of 'canary'"):
        read_policy({"alias": "prod", "conditions": [{"kind": "passes"}]}, "canary")


def test_a_check_that_cannot_be_read_hides_no_other(house: GateHouse) -> None:
    house.set()
    strange, plain = (house.ask(house.publish()) for _ in range(2))
    with house.registry.database.session() as session:
        session.get_one(GateCheckRow, strange.id).policy = {"of": "tomorrow"}
    assert [check.id for check in house.gates.open_checks()] == [plain.id]
