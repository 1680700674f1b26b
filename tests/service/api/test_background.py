import logging
import threading
from collections.abc import Iterator

import pytest

from service.api.background import Background
from service.api.errors import ApiError
from service.api.long_work import Stop
from service.engine.errors import EngineClosedError
from tests.service.api.conftest import wait_until


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background("evaluations", limit=1, max_waiting=1)
    yield made
    made.close()


class Held:
    """Work that goes on until it is let go or stopped."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.stopped = False

    def __call__(self, stop: Stop) -> None:
        self.begun.set()
        while not self.let_go.wait(0.01):
            try:
                stop.check(0, 1)
            except EngineClosedError:
                self.stopped = True
                raise


def test_work_is_done_in_turn(background: Background) -> None:
    first, second = Held(), Held()
    background.start("a", first)
    background.start("b", second)
    assert first.begun.wait(10)
    assert not second.begun.is_set()
    assert background.ids == {"a", "b"}
    first.let_go.set()
    assert second.begun.wait(10)
    second.let_go.set()
    wait_until(lambda: not background.ids)


def test_more_than_may_wait_is_refused_and_leaves_the_others(background: Background) -> None:
    held = Held()
    background.start("a", held)
    background.start("b", held)
    with pytest.raises(ApiError) as refused:
        background.start("c", held)
    assert (refused.value.problem.status, refused.value.problem.code) == (429, "too_many_evaluations")
    assert refused.value.problem.retry_after_seconds
    assert background.ids == {"a", "b"}
    held.let_go.set()


def test_what_runs_under_an_id_is_not_begun_again(background: Background) -> None:
    held, other = Held(), Held()
    background.start("a", held)
    background.start("a", other)
    held.let_go.set()
    wait_until(lambda: not background.ids)
    assert not other.begun.is_set()


def test_one_piece_is_stopped_by_its_id(background: Background) -> None:
    held = Held()
    background.start("a", held)
    assert held.begun.wait(10)
    assert background.cancel("a")
    wait_until(lambda: not background.ids)
    assert held.stopped
    assert not background.cancel("a")


def test_a_place_is_free_again_after_an_error(background: Background, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_stop: Stop) -> None:
        raise ValueError("no")

    with caplog.at_level(logging.ERROR):
        background.start("a", fail)
        wait_until(lambda: not background.ids)
    assert "a of evaluations ended with an error" in caplog.text
    done = threading.Event()
    background.start("b", lambda _stop: done.set())
    assert done.wait(10)


def test_closing_stops_what_runs_and_forgets_what_waits(background: Background) -> None:
    running, waiting = Held(), Held()
    background.start("a", running)
    background.start("b", waiting)
    assert running.begun.wait(10)
    background.close()
    wait_until(lambda: running.stopped)
    wait_until(lambda: not background.ids)
    assert not waiting.begun.is_set()
    with pytest.raises(EngineClosedError):
        background.start("c", running)
