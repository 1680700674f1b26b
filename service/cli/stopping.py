"""Turns SIGTERM and Ctrl-C into a wish to stop that a long command can honour at a safe point."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Set by the first signal; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C."""
        return self.received == signal.SIGINT

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Within it, SIGTERM and SIGINT are noted instead of ending the process."""
    stop = StopSignal()
    earlier = {number: signal.signal(number, stop.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
