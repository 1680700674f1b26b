"""How many streams of job events may be open."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.api.errors.problem import ApiError, Problem

_RETRY_AFTER_SECONDS = 10


class EventStreams:
    """Counts the streams that are open. Only the event loop's thread touches it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Around one stream.

        Raises:
            ApiError: 429, every place is taken.
        """
        if self.num_open >= self._limit:
            message = f"{self._limit} event streams are open, which is the limit; read the events as a list"
            raise ApiError(
                Problem(status=429, message=message, code="too_many_streams", retry_after_seconds=_RETRY_AFTER_SECONDS)
            )
        self.num_open += 1
        try:
            yield
        finally:
            self.num_open -= 1
