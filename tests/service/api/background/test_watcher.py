import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from service.api.background.watcher import Watcher
from storage.errors import StorageUnavailableError

_LONG_SECONDS = 600.0
"""Between looks: nothing in a test happens by itself."""


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def start(look: Callable[[], None], seconds: float = _LONG_SECONDS) -> Watcher:
        watcher = Watcher("things", look, seconds=seconds)
        made.append(watcher)
        watcher.start()
        return watcher

    yield start
    for watcher in made:
        watcher.close()
        watcher.join(10)


def test_it_looks_at_once_when_woken(watch: Callable[..., Watcher]) -> None:
    looked = threading.Event()
    watcher = watch(looked.set)
    assert not looked.is_set()
    watcher.wake()
    assert looked.wait(10)


def test_it_looks_by_itself(watch: Callable[..., Watcher]) -> None:
    looked = threading.Semaphore(0)
    watch(looked.release, seconds=0.01)
    assert looked.acquire(timeout=10)
    assert looked.acquire(timeout=10)


@pytest.mark.parametrize(
    ("error", "level"),
    [(StorageUnavailableError("away"), logging.WARNING), (ValueError("a row that cannot be read"), logging.ERROR)],
)
def test_an_error_is_logged_and_the_next_look_comes(
    watch: Callable[..., Watcher], caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    looks = threading.Semaphore(0)

    def look() -> None:
        looks.release()
        raise error

    with caplog.at_level(logging.INFO):
        watcher = watch(look)
        watcher.wake()
        assert looks.acquire(timeout=10)
        watcher.wake()
        assert looks.acquire(timeout=10)
        watcher.close()
        watcher.join(10)
    assert {record.levelno for record in caplog.records} == {level}
    assert str(error) in caplog.text


def test_a_closed_one_looks_no_more(watch: Callable[..., Watcher]) -> None:
    looks = threading.Semaphore(0)
    watcher = watch(looks.release)
    watcher.close()
    watcher.join(10)
    watcher.wake()
    assert not looks.acquire(timeout=0.05)
