import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from service.engine.errors import AdapterLoadError, EngineClosedError, TooManyPinsError
from service.engine.loading import LoadedAdapter
from service.engine.lora.fold import FoldedAdapter
from service.engine.lora.groups import Group
from service.engine.lora.slots import Slots
from service.engine.metrics import EngineMetrics
from service.engine.pins import Pins
from service.engine.request import AdapterSource
from service.engine.residency import Limits, Residency
from service.engine.verification import Expectation

A, B, C, BAD = (AdapterSource(name, Path(name)) for name in ("a", "b", "c", "bad"))
WaitUntil = Callable[[Callable[[], bool]], None]


class World:
    """Pins over a residency of three slots, whose loads can be held up."""

    def __init__(self) -> None:
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

    def settle(self) -> None:
        self.pins.settle()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.opened.set()
    made.residency.check_integrity()
    made.residency.close()


def num_pins(world: World, source: AdapterSource) -> int:
    return world.residency._state.resident[source.digest].num_pins


def test_a_pin_is_done_when_the_adapter_is_there(world: World) -> None:
    world.opened.clear()
    pin = world.pins.pin(A)
    assert not pin.done()
    world.opened.set()
    pin.result(10)
    assert world.residency.placement("a") == "device"
    assert world.pins.pinned() == ["a"]


def test_a_second_pin_of_the_same_changes_nothing(world: World) -> None:
    world.pins.pin(A).result(10)
    world.pins.pin(A).result(10)
    assert num_pins(world, A) == 1
    assert world.pins.unpin("a")
    assert not world.pins.unpin("a")
    assert num_pins(world, A) == 0


def test_the_last_slot_cannot_be_pinned(world: World) -> None:
    world.pins.pin(A).result(10)
    world.pins.pin(B).result(10)
    with pytest.raises(TooManyPinsError, match="2 adapters are pinned and 2 is the limit"):
        world.pins.pin(C)
    world.pins.pin(B).result(10)
    world.pins.unpin("a")
    world.pins.pin(C).result(10)


def test_a_pin_of_what_cannot_be_loaded_fails_and_takes_no_place(world: World) -> None:
    for _ in range(4):
        with pytest.raises(AdapterLoadError):
            world.pins.pin(BAD).result(10)
    assert world.pins.pinned() == []
    assert not world.pins.unpin("bad")


def test_unpinning_before_it_is_there_ends_the_waiting(world: World) -> None:
    world.opened.clear()
    given_up = [world.pins.pin(A) for _ in range(2)]
    kept = world.pins.pin(B)
    assert world.pins.unpin("a")
    for pin in given_up:
        with pytest.raises(AdapterLoadError, match="unpinned before"):
            pin.result(10)
    world.opened.set()
    kept.result(10)
    assert world.pins.pinned() == ["b"]
    assert not world.residency._state.waiting


def test_a_caller_who_gives_up_waiting_leaves_the_pin(world: World, wait_until: WaitUntil) -> None:
    world.opened.clear()
    given_up: Future[None] = world.pins.pin(A)
    assert given_up.cancel()
    world.opened.set()
    wait_until(lambda: world.residency.placement("a") == "device")
    assert num_pins(world, A) == 1
    assert world.pins.pinned() == ["a"]


def test_the_end_fails_what_still_waits(world: World) -> None:
    world.opened.clear()
    pin = world.pins.pin(A)
    world.pins.fail(EngineClosedError())
    with pytest.raises(EngineClosedError):
        pin.result(10)
