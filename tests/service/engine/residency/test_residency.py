import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.errors import AdapterLoadError
from service.engine.lora.fold import FoldedAdapter
from service.engine.lora.slots import Slot
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource
from service.engine.residency.leases import Claim, Lease
from service.engine.residency.loading import LoadedAdapter
from service.engine.residency.reading import ReadLimits
from service.engine.residency.residency import Limits, Residency
from service.engine.residency.verification import Expectation

A, B, C, D, BAD = (AdapterSource(name, Path(name)) for name in ("a", "b", "c", "d", "bad"))
FAR = 3600.0
WaitUntil = Callable[[Callable[[], bool]], None]


class Places:
    """As many slots as there are; each remembers nothing."""

    def __init__(self, number: int) -> None:
        self.free_indices = list(range(number))
        self.broken = False

    def write(self, adapter: FoldedAdapter) -> Slot:
        if self.broken:
            raise MemoryError
        return Slot(adapter.rank, self.free_indices.pop(), frozenset(), dora=False)

    def free(self, slot: Slot) -> None:
        assert slot.index not in self.free_indices
        self.free_indices.append(slot.index)


def load(source: AdapterSource) -> LoadedAdapter:
    if source == BAD:
        raise AdapterLoadError("bad")
    return LoadedAdapter(FoldedAdapter(8, {}), Expectation(None, identity=True))


Make = Callable[..., Residency]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Residency] = []

    def make_one(
        device: int,
        patience_seconds: float = FAR,
        loader: Callable[[AdapterSource], LoadedAdapter] = load,
        host: int = 8,
        places: Places | None = None,
        on_change: Callable[[], None] = lambda: None,
        **reads: Any,
    ) -> Residency:
        limits = Limits(device=device, host=host, patience_seconds=patience_seconds, reads=ReadLimits(**reads))
        made.append(Residency(loader, places or Places(device), limits, on_change, EngineMetrics("tiny")))
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


def first_settled(claims: Sequence[Claim]) -> Claim:
    """Waits for the loader."""
    deadline = time.monotonic() + 10
    while not (found := [claim for claim in claims if not claim[0].pending]):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found[0]


def still_pending(lease: Lease) -> bool:
    time.sleep(0.03)
    return lease.pending


def counted(residency: Residency, name: str) -> float | None:
    return residency._metrics.registry.get_sample_value(name, {"model_name": "tiny"})


def test_an_adapter_is_loaded_once_for_many(make: Make) -> None:
    residency = make(2)
    leases = [settled(residency.lease(A)) for _ in range(3)]
    assert all(lease.slot is leases[0].slot for lease in leases)
    assert residency.num_loads == 1


def test_the_least_recently_used_idle_one_makes_room(make: Make) -> None:
    residency = make(2)
    for source in (A, B, A):
        residency.release(settled(residency.lease(source)))
    settled(residency.lease(C))
    assert residency.resident() == ["a", "c"]
    assert counted(residency, "lorad:adapter_evictions_total") == 1


def test_what_is_leased_is_never_evicted(make: Make) -> None:
    residency = make(1)
    first = settled(residency.lease(A))
    second = residency.lease(B)
    assert still_pending(second)
    assert residency.resident() == ["a"]
    residency.release(first)
    settled(second)
    assert residency.resident() == ["b"]


def test_what_was_evicted_comes_back_without_reading_while_the_host_keeps_it(make: Make) -> None:
    read: list[str] = []

    def counting(source: AdapterSource) -> LoadedAdapter:
        read.append(source.digest)
        return load(source)

    residency = make(1, loader=counting, host=2)
    for source in (A, B, A, C, A, B):
        residency.release(settled(residency.lease(source)))
    # A was used when C came, so B had to go.
    assert read == ["a", "b", "c", "b"]
    assert [residency.placement(name) for name in "abc"] == ["host", "device", "store"]
    gauge = residency._metrics.registry.get_sample_value
    assert gauge("lorad:adapters_resident", {"model_name": "tiny", "tier": "device"}) == 1
    assert gauge("lorad:adapters_resident", {"model_name": "tiny", "tier": "host"}) == 2


def test_a_failed_load_tells_all_who_wait_and_leaves_the_rest(make: Make) -> None:
    residency = make(2)
    residency.release(settled(residency.lease(A)))
    leases = [settled(residency.lease(BAD)) for _ in range(2)]
    assert all(isinstance(lease.error, AdapterLoadError) for lease in leases)
    for lease in leases:
        residency.release(lease)
    assert residency.resident() == ["a"]
    assert counted(residency, "lorad:adapter_loads_total") == 1


def test_the_loader_outlives_a_defect(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def defective(source: AdapterSource) -> LoadedAdapter:
        if source == BAD:
            raise ZeroDivisionError
        return load(source)

    residency = make(2, loader=defective)
    error = settled(residency.lease(BAD)).error
    assert error is not None
    assert "ZeroDivisionError" in str(error)
    assert "could not be loaded" in caplog.text
    assert settled(residency.lease(A)).slot is not None


def test_the_loader_outlives_a_device_that_takes_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    places = Places(2)
    residency = make(2, places=places)
    places.broken = True
    assert "MemoryError" in str(settled(residency.lease(A)).error)
    places.broken = False
    assert settled(residency.lease(A)).slot is not None
    assert "could not be loaded" in caplog.text


def test_a_claim_can_be_given_back_before_it_is_granted(make: Make) -> None:
    residency = make(1)
    first = settled(residency.lease(A))
    second = residency.lease(B)
    residency.release(second)
    residency.release(first)
    time.sleep(0.03)
    assert residency.resident() == ["a"]


def test_unceasing_requests_for_one_do_not_keep_another_waiting_for_ever(make: Make) -> None:
    residency = make(1, patience_seconds=0)
    running = settled(residency.lease(A))
    waiting = residency.lease(B)
    # Each of A's requests begins before the one before it ends: A is never idle.
    queue = [residency.lease(A) for _ in range(3)]
    residency.release(running)
    settled(waiting)
    assert all(lease.pending for lease in queue)
    residency.release(waiting)
    assert all(settled(lease).slot is not None for lease in queue)


def test_nobody_is_held_up_while_patience_lasts(make: Make) -> None:
    residency = make(1)
    settled(residency.lease(A))
    residency.lease(B)
    assert not residency.lease(A).pending


def test_a_holder_can_share_what_is_being_drained(make: Make) -> None:
    residency = make(1, patience_seconds=0)
    held = settled(residency.lease(A))
    waiting = residency.lease(B)
    assert residency.lease(A).pending
    beside = residency.lease_beside(held)
    assert beside is not None
    assert beside.slot == held.slot
    residency.release(held)
    assert still_pending(waiting)
    residency.release(beside)
    settled(waiting)


def test_what_has_left_its_slot_cannot_be_shared_any_more(make: Make) -> None:
    residency = make(1)
    held = settled(residency.lease(A))
    residency.release(held)
    settled(residency.lease(B))
    assert residency.lease_beside(held) is None


def test_a_drained_adapter_is_lent_again_when_nobody_waits_any_more(make: Make) -> None:
    changes: list[None] = []
    residency = make(1, patience_seconds=0, on_change=lambda: changes.append(None))
    settled(residency.lease(A))
    waiting = residency.lease(B)
    held_up = residency.lease(A)
    assert held_up.pending
    before = len(changes)
    residency.release(waiting)
    assert held_up.slot is not None
    assert len(changes) > before
    assert residency.num_loads == 1


def test_what_is_pinned_is_not_drained(make: Make) -> None:
    residency = make(2, patience_seconds=0)
    settled(residency.lease(A, pinned=True))
    other = settled(residency.lease(B))
    waiting = residency.lease(C)
    assert not residency.lease(A).pending
    assert residency.lease(B).pending
    residency.release(other)
    settled(waiting)


def test_adapters_wanted_together_are_granted_together_or_not_at_all(make: Make) -> None:
    residency = make(2)
    busy = settled(residency.lease(A))
    settled(residency.lease(B))
    both = residency.lease_together([A, C])
    assert still_pending(both[0])
    assert both[1].pending
    residency.release(busy)
    # Granted would mean that it holds A and waits for C.
    assert residency._lending.resident["a"].num_leases == 0
    assert residency._lending.resident["b"].num_leases == 1


def test_of_adapters_wanted_together_none_makes_room_for_another(make: Make) -> None:
    residency = make(2)
    busy = settled(residency.lease(A))
    both = residency.lease_together([B, C])
    assert still_pending(both[0])
    assert residency.resident() == ["a", "b"]
    assert residency.num_evictions == 0
    residency.release(busy)
    assert settled(both[1]).slot is not None
    assert residency.num_loads == 3


def test_two_that_want_more_than_there_is_room_for_get_it_one_after_the_other(make: Make) -> None:
    residency = make(2)
    held = settled(residency.lease(A))
    other = settled(residency.lease(B))
    claims = [residency.lease_together(pair) for pair in ([C, D], [A, BAD], [A, C], [B, D])]
    residency.release(other)
    residency.release(held)
    assert all(settled(lease).error is not None for lease in claims.pop(1))
    while claims:
        # In no certain order: one whose adapters have been read goes before one that still waits for the disk.
        granted = first_settled(claims)
        assert all(lease.slot is not None for lease in granted)
        residency.check_integrity()
        for lease in granted:
            residency.release(lease)
        claims.remove(granted)


def test_what_pins_leave_no_room_for_fails_alone(make: Make) -> None:
    residency = make(2)
    settled(residency.lease(A, pinned=True))
    together, alone = residency.lease_together([B, C]), residency.lease(B)
    assert "1 are pinned" in str(settled(together[0]).error)
    assert together[1].error is not None
    assert settled(alone).slot is not None
    residency.release(alone)
    assert settled(residency.lease_together([A, C])[1]).slot is not None


def test_a_load_blocks_no_one_who_has_an_adapter(make: Make) -> None:
    opened = threading.Event()

    def slow(source: AdapterSource) -> LoadedAdapter:
        assert source != B or opened.wait(10)
        return load(source)

    residency = make(2, loader=slow)
    residency.release(settled(residency.lease(A)))
    waiting = residency.lease(B)
    assert not residency.lease(A).pending
    opened.set()
    settled(waiting)


class Disk:
    """Some of whose files never come until it is repaired."""

    def __init__(self, *hanging: AdapterSource) -> None:
        self.hanging = hanging
        self.repaired = threading.Event()
        self.asked: list[str] = []

    def load(self, source: AdapterSource) -> LoadedAdapter:
        self.asked.append(source.digest)
        assert source not in self.hanging or self.repaired.wait(20)
        return load(source)


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(A, B)
    yield made
    made.repaired.set()


def test_reads_that_hang_hold_up_no_others(make: Make, disk: Disk) -> None:
    residency = make(3, loader=disk.load, concurrent=1, slow_seconds=0.05)
    hanging = [residency.lease(A), residency.lease(B)]
    assert settled(residency.lease(C)).slot is not None
    assert all(lease.pending for lease in hanging)
    disk.repaired.set()
    assert all(settled(lease).slot is not None for lease in hanging)
    assert sorted(disk.asked) == ["a", "b", "c"]


def test_a_read_that_hangs_fails_those_who_wait_for_it_and_those_who_come_later(make: Make, disk: Disk) -> None:
    changes: list[None] = []
    residency = make(
        2, loader=disk.load, slow_seconds=0.02, timeout_seconds=0.1, on_change=lambda: changes.append(None)
    )
    together, alone = residency.lease_together([C, A]), residency.lease(A)
    for lease in (*together, alone, residency.lease(A)):
        assert "a could not be read: 1 reads have not ended within 0.1 s" in str(settled(lease).error)
    assert changes
    assert disk.asked.count("a") == 1
    # What it brings in the end serves those who ask then.
    disk.repaired.set()
    deadline = time.monotonic() + 10
    while residency.placement("a") == "store":
        assert time.monotonic() < deadline
    assert settled(residency.lease(A)).slot is not None
    assert disk.asked.count("a") == 1


def test_a_storage_that_does_not_answer_at_all_is_told_to_everybody(make: Make, disk: Disk) -> None:
    residency = make(2, loader=disk.load, threads=2, slow_seconds=0.01, timeout_seconds=0.05)
    for source in (A, B):
        residency.lease(source)
    assert "c could not be read: 2 reads" in str(settled(residency.lease(C)).error)
    assert "c" not in disk.asked


def test_closing_does_not_wait_for_a_read_that_hangs(
    make: Make, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.engine.residency.residency._CLOSING_SECONDS", 0.05)
    residency = make(2, loader=disk.load)
    residency.lease(A)
    while not disk.asked:
        time.sleep(0.001)
    residency.close()
    assert "1 threads that load adapters have not ended" in caplog.text
    disk.repaired.set()


def test_a_system_without_threads_to_spare_fails_loads_and_nothing_else(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    residency = make(2)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert "could not be loaded: RuntimeError" in str(settled(residency.lease(A)).error)
    assert "can't start new thread" in caplog.text
    assert settled(residency.lease(A)).slot is not None


def test_what_waits_for_a_slot_is_read_meanwhile(make: Make) -> None:
    residency = make(1)
    held = settled(residency.lease(A))
    waiting = [residency.lease(B), residency.lease(C)]
    deadline = time.monotonic() + 10
    while [residency.placement(name) for name in "bc"] != ["host", "host"]:
        assert time.monotonic() < deadline
    assert all(lease.pending for lease in waiting)
    residency.release(held)
    settled(waiting[0])


def test_reading_ahead_never_drives_out_what_is_waited_for_longer(make: Make) -> None:
    asked: list[str] = []

    def counting(source: AdapterSource) -> LoadedAdapter:
        asked.append(source.digest)
        return load(source)

    residency = make(2, loader=counting, host=2)
    held = [settled(residency.lease(source)) for source in (A, B)]
    claims = [residency.lease_together(pair) for pair in ([C, D], [A, C], [B, D])]
    time.sleep(0.05)
    assert sorted(asked) == ["a", "b", "c", "d"]
    for lease in held:
        residency.release(lease)
    for claim in claims:
        assert all(settled(lease).slot is not None for lease in claim)
        for lease in claim:
            residency.release(lease)


class Machine(RuleBasedStateMachine):
    """Any order of claims and returns: bounds hold at any time, and whoever can be served is."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(device=2, host=3, patience_seconds=0)
        self.residency = Residency(load, Places(2), limits, lambda: None, EngineMetrics("tiny"))
        self.claims: list[tuple[Lease, ...]] = []
        self.beside: list[Lease] = []
        """Kept apart: whether a lease can be shared depends on the loader, and what is drawn must not."""

    @rule(names=st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True))
    def claim(self, names: list[str]) -> None:
        sources = [AdapterSource(name, Path(name)) for name in names]
        self.claims.append(self.residency.lease_together(sources))

    @rule(good=st.sampled_from([(), (A,)]))
    def claim_a_bad_one(self, good: tuple[AdapterSource, ...]) -> None:
        self.claims.append(self.residency.lease_together([*good, BAD]))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.release(self.claims[data.draw(st.integers(0, len(self.claims) - 1))])

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        lease = self.claims[data.draw(st.integers(0, len(self.claims) - 1))][0]
        if lease.slot is not None:
            beside = self.residency.lease_beside(lease)
            assert beside is not None
            self.beside.append(beside)

    @rule()
    def give_shared_back(self) -> None:
        for lease in self.beside:
            self.residency.release(lease)
        self.beside.clear()

    def release(self, claim: tuple[Lease, ...]) -> None:
        self.claims.remove(claim)
        for lease in claim:
            self.residency.release(lease)

    @invariant()
    def bounds_hold(self) -> None:
        self.residency.check_integrity()
        held = {lease.source.digest for claim in self.claims for lease in claim if lease.slot is not None}
        assert held <= set(self.residency.resident())

    @invariant()
    def counts_are_those_of_the_leases(self) -> None:
        with self.residency._changed:
            granted = [lease for claim in self.claims for lease in claim if lease.slot is not None] + self.beside
            for digest, entry in self.residency._lending.resident.items():
                assert entry.num_leases == sum(lease.source.digest == digest for lease in granted)

    @invariant()
    def a_claim_is_granted_whole(self) -> None:
        with self.residency._changed:
            assert all(len({lease.slot is None for lease in claim}) == 1 for claim in self.claims)

    def teardown(self) -> None:
        # Served one after the other, everybody gets what he claimed or an error.
        self.give_shared_back()
        deadline = time.monotonic() + 10
        while self.claims:
            for claim in [claim for claim in self.claims if not claim[0].pending]:
                assert (claim[0].error is not None) == any(lease.source == BAD for lease in claim)
                self.release(claim)
            assert time.monotonic() < deadline
        self.residency.close()


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestResidency = Machine.TestCase
