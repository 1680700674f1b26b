import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.errors import AdapterLoadError
from service.engine.layers import LayerWeights
from service.engine.request import AdapterSource
from service.engine.residency import Layers, Lease, Residency

A, B, C, BAD = (AdapterSource(name, Path(name)) for name in ("a", "b", "c", "bad"))
FAR = 3600.0


def load(source: AdapterSource) -> Layers:
    if source == BAD:
        raise AdapterLoadError("bad")
    return {source.digest: LayerWeights(None, None, None)}  # type: ignore[arg-type]


@pytest.fixture
def make() -> Iterator[Callable[..., Residency]]:
    made: list[Residency] = []

    def make_one(
        capacity: int, patience_seconds: float = FAR, loader: Callable[[AdapterSource], Layers] = load
    ) -> Residency:
        made.append(Residency(loader, capacity, lambda: None, patience_seconds))
        return made[-1]

    yield make_one
    for residency in made:
        residency.check_integrity()
        residency.close()


def settled(lease: Lease) -> Lease:
    """Waits for the loader."""
    deadline = time.monotonic() + 10
    while lease.pending:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return lease


def still_pending(lease: Lease) -> bool:
    time.sleep(0.03)
    return lease.pending


def test_an_adapter_is_loaded_once_for_many(make: Callable[..., Residency]) -> None:
    residency = make(2)
    leases = [settled(residency.lease(A)) for _ in range(3)]
    assert all(lease.layers is leases[0].layers for lease in leases)
    assert residency._state.loads == 1


def test_the_least_recently_used_idle_one_makes_room(make: Callable[..., Residency]) -> None:
    residency = make(2)
    for source in (A, B, A):
        residency.release(settled(residency.lease(source)))
    settled(residency.lease(C))
    assert residency.resident() == ["a", "c"]


def test_what_is_leased_is_never_evicted(make: Callable[..., Residency]) -> None:
    residency = make(1)
    first = settled(residency.lease(A))
    second = residency.lease(B)
    assert still_pending(second)
    assert residency.resident() == ["a"]
    residency.release(first)
    settled(second)
    assert residency.resident() == ["b"]


def test_a_failed_load_tells_all_who_wait_and_leaves_the_rest(make: Callable[..., Residency]) -> None:
    residency = make(2)
    residency.release(settled(residency.lease(A)))
    leases = [settled(residency.lease(BAD)) for _ in range(2)]
    assert all(isinstance(lease.error, AdapterLoadError) for lease in leases)
    for lease in leases:
        residency.release(lease)
    assert residency.resident() == ["a"]


def test_the_loader_outlives_a_defect(make: Callable[..., Residency], caplog: pytest.LogCaptureFixture) -> None:
    def defective(source: AdapterSource) -> Layers:
        if source == BAD:
            raise ZeroDivisionError
        return load(source)

    residency = make(2, loader=defective)
    error = settled(residency.lease(BAD)).error
    assert error is not None
    assert "ZeroDivisionError" in str(error)
    assert "could not be loaded" in caplog.text
    assert settled(residency.lease(A)).layers is not None


def test_a_claim_can_be_given_back_before_it_is_granted(make: Callable[..., Residency]) -> None:
    residency = make(1)
    first = settled(residency.lease(A))
    second = residency.lease(B)
    residency.release(second)
    residency.release(first)
    time.sleep(0.03)
    assert residency.resident() == ["a"]


def test_unceasing_requests_for_one_do_not_keep_another_waiting_for_ever(make: Callable[..., Residency]) -> None:
    residency = make(1, patience_seconds=0)
    running = settled(residency.lease(A))
    waiting = residency.lease(B)
    # Each of A's requests begins before the one before it ends: A is never idle.
    queue = [residency.lease(A) for _ in range(3)]
    residency.release(running)
    settled(waiting)
    assert all(lease.pending for lease in queue)
    residency.release(waiting)
    assert all(settled(lease).layers is not None for lease in queue)


def test_nobody_is_held_up_while_patience_lasts(make: Callable[..., Residency]) -> None:
    residency = make(1)
    settled(residency.lease(A))
    residency.lease(B)
    assert not residency.lease(A).pending


def test_a_drained_adapter_is_lent_again_when_nobody_waits_any_more(make: Callable[..., Residency]) -> None:
    residency = make(1, patience_seconds=0)
    settled(residency.lease(A))
    waiting = residency.lease(B)
    held_up = residency.lease(A)
    assert held_up.pending
    residency.release(waiting)
    assert held_up.layers is not None
    assert residency._state.loads == 1


def test_a_load_blocks_no_one_who_has_an_adapter(make: Callable[..., Residency]) -> None:
    opened = threading.Event()

    def slow(source: AdapterSource) -> Layers:
        assert source != B or opened.wait(10)
        return load(source)

    residency = make(2, loader=slow)
    residency.release(settled(residency.lease(A)))
    waiting = residency.lease(B)
    assert not residency.lease(A).pending
    opened.set()
    settled(waiting)


class Machine(RuleBasedStateMachine):
    """Any order of claims and returns: bounds hold at any time, and whoever can be served is."""

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency(load, 2, lambda: None, patience_seconds=0)
        self.leases: list[Lease] = []

    @rule(name=st.sampled_from("abcde"))
    def claim(self, name: str) -> None:
        self.leases.append(self.residency.lease(AdapterSource(name, Path(name))))

    @rule()
    def claim_a_bad_one(self) -> None:
        self.leases.append(self.residency.lease(BAD))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.residency.release(self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))))

    @invariant()
    def bounds_hold(self) -> None:
        self.residency.check_integrity()
        held = {lease.source.digest for lease in self.leases if lease.layers is not None}
        assert held <= set(self.residency.resident())

    @invariant()
    def counts_are_those_of_the_leases(self) -> None:
        with self.residency._changed:
            for digest, entry in self.residency._state.resident.items():
                granted = [lease for lease in self.leases if lease.source.digest == digest and lease.layers is not None]
                assert entry.num_leases == len(granted)

    def teardown(self) -> None:
        # Served one after the other, everybody gets what he claimed or an error.
        deadline = time.monotonic() + 10
        while self.leases:
            for lease in [lease for lease in self.leases if not lease.pending]:
                assert (lease.error is not None) == (lease.source == BAD)
                self.leases.remove(lease)
                self.residency.release(lease)
            assert time.monotonic() < deadline
        self.residency.close()


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestResidency = Machine.TestCase
