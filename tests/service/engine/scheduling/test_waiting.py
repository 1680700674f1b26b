from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.scheduling.waiting import WaitingQueue

PATIENCE = 5.0


@dataclass(frozen=True)
class Item:
    """Equal ones are told apart, as a queue must."""

    tenant: str
    arrival: float
    cost: int = 10


def queue(*items: Item) -> WaitingQueue[Item]:
    made: WaitingQueue[Item] = WaitingQueue(PATIENCE)
    for item in items:
        made.push(item)
    return made


def admit(waiting: WaitingQueue[Item], now: float = 0, most: int = 100, full_for: Iterable[Item] = ()) -> list[Item]:
    """One pass in which these do not fit and all others run; prompts are charged as they are let in."""
    admitted: list[Item] = []
    for item in waiting.candidates(now):
        if len(admitted) == most:
            break
        if item in full_for:
            waiting.skip(item, now)
            continue
        waiting.remove(item)
        waiting.charge(item.tenant, item.cost)
        admitted.append(item)
    waiting.check_integrity()
    return admitted


A1, A2, A3, B1, B2, C1 = (
    Item(name[0], float(order)) for order, name in enumerate(["a1", "a2", "a3", "b1", "b2", "c1"])
)


def test_within_a_tenant_it_is_first_come_first_served() -> None:
    assert admit(queue(A1, A2, A3)) == [A1, A2, A3]


def test_tenants_take_turns_by_the_service_they_received() -> None:
    assert admit(queue(A1, A2, A3, B1, B2)) == [A1, B1, A2, B2, A3]


def test_a_tenant_that_got_much_waits_for_one_that_got_little() -> None:
    waiting = queue(A1, A2, B1, B2)
    waiting.charge("a", 15)
    assert admit(waiting) == [B1, B2, A1, A2]


def test_long_answers_count_like_many_short_ones() -> None:
    long, short = Item("a", 0, cost=30), [Item("b", arrival, cost=10) for arrival in (2, 3, 4, 5)]
    waiting = queue(long, Item("a", 1), *short)
    assert [item.tenant for item in admit(waiting)] == ["a", "b", "b", "b", "a", "b"]


def test_a_pause_earns_nothing() -> None:
    waiting = queue(A1, A2)
    waiting.charge("a", 1000)
    waiting.push(B1)
    waiting.push(B2)
    assert admit(waiting) == [A1, B1, A2, B2]


def test_a_pause_of_everybody_earns_nothing() -> None:
    waiting = queue(A1)
    admit(waiting)
    waiting.charge("a", 1000)
    waiting.push(B1)
    waiting.push(A2)
    waiting.push(B2)
    assert admit(waiting) == [A2, B1, B2]


def test_coming_back_costs_nothing() -> None:
    waiting = queue(A1, B1)
    waiting.charge("a", 50)
    waiting.remove(A1)
    waiting.push(A2)
    waiting.push(B2)
    assert admit(waiting) == [B1, B2, A2]


def test_a_preempted_item_goes_before_its_tenants_others() -> None:
    waiting = queue(A2, A3)
    waiting.push_front(A1)
    assert admit(waiting) == [A1, A2, A3]


def test_items_that_are_not_ready_stay_and_hold_up_nobody() -> None:
    waiting = queue(A1, A2, B1)
    seen = []
    for item in waiting.candidates(0):
        seen.append(item)
        if item is not A1:
            waiting.remove(item)
    assert seen == [A1, A2, B1]
    assert list(waiting) == [A1]


def test_whoever_is_overtaken_too_long_comes_first_and_alone() -> None:
    waiting = queue(A1, A2, B1)
    assert admit(waiting, 0, full_for=[A1], most=1) == [A2]
    assert waiting.overdue(PATIENCE) is None
    assert waiting.overdue(PATIENCE + 1) is A1
    waiting.push(C1)
    assert admit(waiting, PATIENCE + 1, full_for=[A1]) == []
    assert admit(waiting, PATIENCE + 2) == [A1, B1, C1]


def test_an_overdue_item_that_is_not_ready_holds_up_those_that_came_after_it() -> None:
    early, big, late = Item("a", 0), Item("b", 1), Item("c", 2)
    waiting = queue(early, big, Item("d", 1.5))
    waiting.charge("a", 100)
    assert len(admit(waiting, 0, full_for=[big], most=1)) == 1
    waiting.push(late)
    assert list(waiting.candidates(PATIENCE + 1)) == [big, early]


def test_nobody_is_overdue_for_want_of_room_alone() -> None:
    waiting = queue(A1, A2)
    assert admit(waiting, 0, full_for=[A1, A2]) == []
    assert waiting.overdue(100 * PATIENCE) is None


def test_patience_counts_from_the_first_time() -> None:
    waiting = queue(A1, A2, A3)
    admit(waiting, 0, full_for=[A1], most=1)
    admit(waiting, 4, full_for=[A1], most=1)
    assert waiting.overdue(PATIENCE + 1) is A1


def test_of_several_overdue_items_the_first_to_arrive_is_served_first() -> None:
    waiting = queue(A1, A2, A3)
    admit(waiting, 0, full_for=[A1, A2])
    assert admit(waiting, PATIENCE + 1) == [A1, A2]


def test_a_preempted_item_has_its_patience_again() -> None:
    waiting = queue(A1, A2)
    admit(waiting, 0, full_for=[A1])
    waiting.remove(A1)
    waiting.push_front(A1)
    assert waiting.overdue(100) is None


def test_drop_takes_out_what_matches_and_lets_nobody_overtake() -> None:
    waiting = queue(A1, A2, B1, B2)
    for item in waiting.candidates(0):
        waiting.skip(item, 0)
    assert waiting.drop(lambda item: item.arrival < 1 or item.tenant == "b") == [A1, B1, B2]
    assert list(waiting) == [A2]
    assert (len(waiting), waiting.overdue(100)) == (1, None)


def test_what_is_dropped_during_a_pass_is_no_candidate() -> None:
    waiting = queue(A1, A2, B1)
    candidates = waiting.candidates(0)
    assert next(candidates) is A1
    waiting.drop(lambda item: item is A2)
    assert list(candidates) == [B1]


def test_equal_items_are_told_apart() -> None:
    twins = [Item("a", 0), Item("a", 0)]
    waiting = queue(*twins)
    waiting.remove(twins[0])
    assert next(iter(waiting)) is twins[1]


def test_an_item_waits_once() -> None:
    waiting = queue(A1)
    with pytest.raises(AssertionError):
        waiting.push(A1)


def test_two_tenants_who_always_wait_get_equal_service() -> None:
    waiting, service, clock = queue(), {"heavy": 0, "light": 0}, 0
    for _ in range(200):
        for tenant, number in (("heavy", 5), ("light", 1)):
            for _ in range(number):
                clock += 1
                waiting.push(Item(tenant, clock, cost=40 if tenant == "light" else 10))
        for item in admit(waiting, most=2):
            service[item.tenant] += item.cost
    assert abs(service["heavy"] - service["light"]) <= 40


class Machine(RuleBasedStateMachine):
    """Beside plain lists, searched from the beginning each time."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: WaitingQueue[Item] = WaitingQueue(PATIENCE)
        self.lines: dict[str, list[Item]] = {}
        self.counters: dict[str, int] = {}
        self.overtaken: dict[int, float] = {}
        self.running: list[Item] = []
        self.last: str | None = None
        self.now = 0.0

    @rule(tenant=st.sampled_from("abc"), cost=st.integers(1, 30))
    def push(self, tenant: str, cost: int) -> None:
        self.now += 1
        item = Item(tenant, self.now, cost)
        if not self.lines.get(tenant):
            others = [each for each, line in self.lines.items() if line] or ([self.last] if self.last else [])
            least = min((self.counters.get(each, 0) for each in others), default=0)
            self.counters[tenant] = max(self.counters.get(tenant, 0), least)
        self.lines.setdefault(tenant, []).append(item)
        self.waiting.push(item)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def preempt(self, data: st.DataObject) -> None:
        item = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.lines.setdefault(item.tenant, []).insert(0, item)
        self.waiting.push_front(item)

    @rule(tenant=st.sampled_from("abc"), tokens=st.integers(1, 30))
    def charge(self, tenant: str, tokens: int) -> None:
        self.counters[tenant] = self.counters.get(tenant, 0) + tokens
        self.waiting.charge(tenant, tokens)

    @precondition(lambda self: any(self.lines.values()))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from([item for line in self.lines.values() for item in line]))
        assert self.waiting.drop(lambda item: item is victim) == [victim]
        self.take_out(victim)

    @rule(fates=st.lists(st.sampled_from(["run", "no room", "not ready", "not ready"]), max_size=8))
    def make_a_pass(self, fates: list[str]) -> None:
        """As many candidates as there are fates."""
        self.now += 1
        seen: list[Item] = []
        skipped: list[Item] = []
        candidates = self.waiting.candidates(self.now)
        for fate in fates:
            expected = self.expected(seen, skipped)
            assert next(candidates, None) is expected
            if expected is None:
                return
            seen.append(expected)
            self.decide(expected, fate, skipped)

    def decide(self, item: Item, fate: str, skipped: list[Item]) -> None:
        if fate == "no room":
            self.waiting.skip(item, self.now)
            skipped.append(item)
        elif fate == "run":
            self.waiting.remove(item)
            self.take_out(item)
            self.running.append(item)
            self.charge(item.tenant, item.cost)
            for each in skipped:
                self.overtaken.setdefault(id(each), self.now)

    def expected(self, seen: list[Item], skipped: list[Item]) -> Item | None:
        """The candidate that comes next."""
        barrier = self.barrier()
        if barrier is not None and barrier not in seen:
            # One that became overdue in the pass itself cannot be: patience is longer than a pass.
            return barrier
        if barrier is not None and barrier in skipped:
            return None
        latest = self.now if barrier is None else barrier.arrival
        heads = []
        for tenant, line in self.lines.items():
            if left := [item for item in line if item not in seen and item.arrival <= latest]:
                heads.append((self.counters.get(tenant, 0), left[0].arrival, left[0]))
        return min(heads, key=lambda head: head[:2])[2] if heads else None

    def barrier(self) -> Item | None:
        waiting = [item for line in self.lines.values() for item in line]
        late = [item for item in waiting if self.now - self.overtaken.get(id(item), self.now) > PATIENCE]
        return min(late, key=lambda item: item.arrival, default=None)

    def take_out(self, item: Item) -> None:
        self.lines[item.tenant].remove(item)
        self.overtaken.pop(id(item), None)
        if not self.lines[item.tenant]:
            self.last = item.tenant

    @invariant()
    def sound(self) -> None:
        self.waiting.check_integrity()
        assert len(self.waiting) == sum(map(len, self.lines.values()))
        assert all(item in self.waiting for line in self.lines.values() for item in line)
        assert self.waiting.overdue(self.now) is self.barrier()


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestWaitingQueue = Machine.TestCase
