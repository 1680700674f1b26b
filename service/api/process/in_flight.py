"""What the server is doing right now: the count that draining waits for, and the streams that it may cut."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Cancellable(Protocol):
    """Work that can be asked to end; a stream of tokens or an evaluation."""

    def cancel(self) -> None:
        """Asks; returns at once."""


class InFlight:
    """Requests and answers under way. Only the event loop's thread touches it."""

    def __init__(self) -> None:
        self.num_requests = 0
        self._answering: set[Cancellable] = set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one HTTP request."""
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1

    @contextmanager
    def answering(self, answers: Sequence[Cancellable]) -> Iterator[None]:
        """Around the answers of one request; however it ends, the engine works on none of them afterwards."""
        self._answering.update(answers)
        try:
            yield
        finally:
            self._answering.difference_update(answers)
            for answer in answers:
                answer.cancel()

    @property
    def num_answers(self) -> int:
        """Answers under way."""
        return len(self._answering)

    def cancel(self) -> None:
        """End every answer under way; their requests then end with an error."""
        for answer in self._answering:
            answer.cancel()
