import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from service.engine.errors import AdapterLoadError, EngineClosedError, TooManyPinsError
from service.engine.lora.fold import FoldedAdapter
from service.engine.lora.groups import Group
from service.engine.lora.slots import Slots
from service.engine.metrics import EngineMetrics
from service.engine.request import AdapterSource
from service.engine.residency.loading import LoadedAdapter
from service.engine.residency.pins import Pins
from service.engine.residency.residency import Limits, Residency
from service.engine.residency.verification import Expectation

A, B, C, BAD = (AdapterSource(name, Path(name)) for name in ("a", "b", "c", "bad"))
WaitUntil = Callable[[Callable[[], bool]], None]


class World:
    """Pins over a residency of three slots, whose loads can be held up; it is the verdict on every adapter as well."""

    def __init__(self) -> None:
        self.known = {source.digest for source in (A, B, C)}
        self.broken: dict[str, AdapterLoadError] = {}
        self.opened = threading.Event()
        self.opened.set()
        slots = Slots([Group(("layer",), 4, (4,))], 3, torch.float32, torch.device("cpu"))
        limits = Limits(device=3, host=3)
        self.residency = Residency(self.load, slots, limits, self.settle, EngineMetrics("tiny"))
        self.pins = Pins(self.residency, 2)

    def load(self, source: AdapterSource) -> LoadedAdapter:
        assert self.opened.wait(10)
        if source == BAD:
            raise AdapterLoadError("bad")
        return LoadedAdapter(FoldedAdapter(8, {}), Expectation(None, identity=True))

    def pin(self, source: AdapterSource) -> "Future[None]":
        future = self.pins.pin(source)
        self.settle()
        return future

    def settle(self) -> None:
        self.pins.settle(self)

    def sound(self, digest: str) -> bool:
        return digest in self.known

    def error(self, digest: str) -> AdapterLoadError | None:
        return self.broken.get(digest)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.opened.set()
    made.residency.check_integrity()
    made.residency.close()


def num_pins(world: World, source: AdapterSource) -> int:
    return world.residency._lending.resident[source.digest].num_pins


def test_a_pin_is_done_when_the_adapter_is_there(world: World) -> None:
    world.opened.clear()
    pin = world.pin(A)
    assert not pin.done()
    world.opened.set()
    pin.result(10)
    assert world.residency.placement("a") == "device"
    assert world.pins.pinned() == ["a"]


def test_a_pin_is_done_no_sooner_than_its_adapter_has_been_checked(world: World, wait_until: WaitUntil) -> None:
    world.known.clear()
    pin = world.pin(A)
    wait_until(lambda: world.residency.placement("a") == "device")
    world.settle()
    assert not pin.done()
    assert [lease.source for lease in world.pins.unanswered()] == [A]
    world.known.add("a")
    world.settle()
    assert pin.done()
    assert world.pins.unanswered() == []


def test_a_pin_of_an_adapter_that_fails_its_check_fails_and_gives_the_place_back(
    world: World, wait_until: WaitUntil
) -> None:
    world.known.clear()
    pins = [world.pin(A) for _ in range(2)]
    wait_until(lambda: world.residency.placement("a") == "device")
    world.broken["a"] = AdapterLoadError("answers as the base")
    world.settle()
    for pin in pins:
        with pytest.raises(AdapterLoadError, match="as the base"):
            pin.result(0)
    assert world.pins.pinned() == []
    assert num_pins(world, A) == 0


def test_a_second_pin_of_the_same_changes_nothing(world: World) -> None:
    world.pin(A).result(10)
    world.pin(A).result(10)
    assert num_pins(world, A) == 1
    assert world.pins.unpin("a")
    assert not world.pins.unpin("a")
    assert num_pins(world, A) == 0


def test_the_last_slot_cannot_be_pinned(world: World) -> None:
    world.pin(A).result(10)
    world.pin(B).result(10)
    with pytest.raises(TooManyPinsError, match="2 adapters are pinned and 2 is the limit"):
        world.pin(C)
    world.pin(B).result(10)
    world.pins.unpin("a")
    world.pin(C).result(10)


def test_a_pin_of_what_cannot_be_loaded_fails_and_takes_no_place(world: World) -> None:
    for _ in range(4):
        with pytest.raises(AdapterLoadError):
            world.pin(BAD).result(10)
    assert world.pins.pinned() == []
    assert not world.pins.unpin("bad")


def test_unpinning_before_it_is_there_ends_the_waiting(world: World) -> None:
    world.opened.clear()
    given_up = [world.pin(A) for _ in range(2)]
    kept = world.pin(B)
    assert world.pins.unpin("a")
    for pin in given_up:
        with pytest.raises(AdapterLoadError, match="unpinned before"):
            pin.result(10)
    world.opened.set()
    kept.result(10)
    assert world.pins.pinned() == ["b"]
    assert not world.residency._lending.waiting


def test_a_caller_who_gives_up_waiting_leaves_the_pin(world: World, wait_until: WaitUntil) -> None:
    world.opened.clear()
    given_up: Future[None] = world.pin(A)
    assert given_up.cancel()
    world.opened.set()
    wait_until(lambda: world.residency.placement("a") == "device")
    assert num_pins(world, A) == 1
    assert world.pins.pinned() == ["a"]


def test_the_end_fails_what_still_waits(world: World) -> None:
    world.opened.clear()
    pin = world.pin(A)
    world.pins.fail(EngineClosedError())
    with pytest.raises(EngineClosedError):
        pin.result(10)
