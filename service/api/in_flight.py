"""What the server is doing right now: the count that draining waits for, and the streams that it may cut."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Cancellable(Protocol):
    """Work that can be asked to end; a stream of tokens or an evaluation."""

    def cancel(self) -> None:
        """Asks; returns at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answering:
    """One answer or evaluation under way."""

    tenant: str
    adapter: str | None
    """Name of the adapter; None is the base."""
    work: Cancellable


class InFlight:
    """Requests and answers under way. Only the event loop's thread touches it."""

    def __init__(self) -> None:
        self.num_requests = 0
        self._answering: set[Answering] = set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one HTTP request."""
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1

    @contextmanager
    def answering(self, answers: Sequence[Answering]) -> Iterator[None]:
        """Around the answers of one request; however it ends, the engine works on none of them afterwards."""
        self._answering.update(answers)
        try:
            yield
        finally:
            self._answering.difference_update(answers)
            for answer in answers:
                answer.work.cancel()

    @property
    def num_answers(self) -> int:
        """Answers under way."""
        return len(self._answering)

    def adapters(self, tenant: str) -> list[str]:
        """Names of a tenant's adapters that have answers under way, sorted."""
        found = {answer.adapter for answer in self._answering if answer.tenant == tenant}
        return sorted(name for name in found if name is not None)

    def cancel(self) -> None:
        """End every answer under way; their requests then end with an error."""
        for answer in self._answering:
            answer.work.cancel()
