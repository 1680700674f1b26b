import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from service.api.background.claimed_work import ClaimedWork
from service.api.background.long_work import Stop
from service.api.process.lifecycle import Lifecycle
from service.engine.errors import EngineClosedError, QueueFullError
from service.inference.inference import Inference
from storage.errors import DamagedFolderError, StorageUnavailableError
from tests.service.api.conftest import wait_until


class OverError(Exception):
    """A claim is over."""


@dataclass(frozen=True)
class Held:
    """A claim."""

    id: str
    token: int = 1


@dataclass
class Rows:
    """Claims on work that waits in memory, with a note of what became of it."""

    waiting: deque[str]
    over: set[str] = field(default_factory=set)
    renewed: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    claimed: int = 0

    def claim(self, base_digest: str) -> Held | None:
        assert base_digest == "base"
        if not self.waiting:
            return None
        self.claimed += 1
        return Held(self.waiting.popleft(), self.claimed)

    def renew(self, claim: Held) -> None:
        if claim.id in self.over:
            raise OverError(f"{claim.id} is over")
        self.renewed.append(claim.id)

    def release(self, claim: Held) -> None:
        self.released.append(claim.id)
        self.waiting.append(claim.id)

    def fail(self, claim: Held, message: str) -> None:
        self.failures[claim.id] = message


class Doing:
    """Work that goes on until it is let go or stopped."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.ended: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, _inference: Inference, claim: Held, stop: Stop) -> None:
        self.begun.append(claim.id)
        while not self.let_go.wait(0.01):
            try:
                stop.check(0, 1)
            except EngineClosedError:
                self.stopped.append(claim.id)
                raise
        self.ended.append(claim.id)


CarryOut = Callable[[Inference, Held, Stop], None]
Start = Callable[[Rows, CarryOut], ClaimedWork[Held]]


@pytest.fixture
def lifecycle() -> Lifecycle:
    made = Lifecycle()
    inference = SimpleNamespace(base=SimpleNamespace(digest="base"), engine=SimpleNamespace(alive=True))
    made.set_ready(cast("Inference", inference))
    return made


@pytest.fixture
def start(lifecycle: Lifecycle) -> Iterator[Start]:
    made: list[ClaimedWork[Held]] = []

    def begin(rows: Rows, carry_out: CarryOut) -> ClaimedWork[Held]:
        # Looks come when they are asked for, or where a lease wants renewing: every 20 ms.
        work = ClaimedWork("things", rows, carry_out, stale=OverError, lifecycle=lifecycle, limit=1, lease_seconds=0.06)
        made.append(work)
        work.start()
        return work

    yield begin
    for work in made:
        work.close()
        work.join(10)


def test_what_waits_is_done_in_turn(start: Start) -> None:
    rows, doing = Rows(deque(["a", "b"])), Doing()
    start(rows, doing)
    wait_until(lambda: doing.begun == ["a"])
    assert list(rows.waiting) == ["b"]
    doing.let_go.set()
    wait_until(lambda: doing.ended == ["a", "b"])
    assert not rows.released
    assert not rows.failures


def test_a_claim_is_renewed_while_its_work_goes_on(start: Start) -> None:
    rows, doing = Rows(deque(["a"])), Doing()
    start(rows, doing)
    wait_until(lambda: rows.renewed.count("a") >= 2)
    doing.let_go.set()


def test_work_whose_claim_is_over_is_stopped(start: Start) -> None:
    rows, doing = Rows(deque(["a"])), Doing()
    start(rows, doing)
    wait_until(lambda: doing.begun == ["a"])
    rows.over.add("a")
    wait_until(lambda: doing.stopped == ["a"])


def test_one_piece_is_stopped_by_its_id(start: Start) -> None:
    rows, doing = Rows(deque(["a"])), Doing()
    work = start(rows, doing)
    wait_until(lambda: doing.begun == ["a"])
    work.stop("b")
    assert not doing.stopped
    work.stop("a")
    wait_until(lambda: doing.stopped == ["a"])


@pytest.mark.parametrize("error", [ValueError("no"), DamagedFolderError("a version is damaged")])
def test_an_error_is_written_down_and_the_place_is_free_again(
    start: Start, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    done: list[str] = []

    def carry_out(_inference: Inference, claim: Held, _stop: Stop) -> None:
        if claim.id == "bad":
            raise error
        done.append(claim.id)

    rows = Rows(deque(["bad", "good"]))
    with caplog.at_level(logging.ERROR):
        start(rows, carry_out)
        wait_until(lambda: done == ["good"])
    assert list(rows.failures) == ["bad"]
    assert "bad failed" in caplog.text


def test_while_the_database_is_away_a_piece_is_left_to_its_lease(start: Start) -> None:
    begun = threading.Event()

    def carry_out(_inference: Inference, _claim: Held, _stop: Stop) -> None:
        begun.set()
        raise StorageUnavailableError("away")

    rows = Rows(deque(["a"]))
    work = start(rows, carry_out)
    assert begun.wait(10)
    work.close()
    work.join(10)
    assert not rows.failures
    assert not rows.released


def test_where_the_engine_is_full_a_piece_waits_for_a_later_look(start: Start) -> None:
    tries: list[str] = []

    def carry_out(_inference: Inference, claim: Held, _stop: Stop) -> None:
        tries.append(claim.id)
        if len(tries) == 1:
            raise QueueFullError(8, 5)

    rows = Rows(deque(["a"]))
    start(rows, carry_out)
    wait_until(lambda: tries == ["a", "a"])
    assert rows.released == ["a"]
    assert not rows.failures


def test_closing_stops_what_runs_and_lets_it_wait(start: Start) -> None:
    rows, doing = Rows(deque(["a", "b"])), Doing()
    work = start(rows, doing)
    wait_until(lambda: doing.begun == ["a"])
    work.close()
    work.join(10)
    assert doing.stopped == ["a"]
    assert rows.released == ["a"]
    assert sorted(rows.waiting) == ["a", "b"]


def test_nothing_is_taken_up_while_the_server_drains(start: Start, lifecycle: Lifecycle) -> None:
    rows, doing = Rows(deque()), Doing()
    work = start(rows, doing)
    lifecycle.drain()
    rows.waiting.append("a")
    work.wake()
    threading.Event().wait(0.1)
    assert not rows.claimed
