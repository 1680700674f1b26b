"""Where trainers run: one seam, which speaks of a command, resources, a log, and of nothing local."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may take."""

    cpu_threads: int | None = None
    """None: as many as it likes."""
    niceness: int = 0
    """How far it stands back behind others: 0 to 19."""
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command to be run."""

    name: str
    """Of the run, unique."""
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the launcher's own."""
    resources: Resources = Resources()
    lease_seconds: float
    """The command is killed when it was not renewed for so long: whoever launched it may be dead or cut off."""


class Running(Protocol):
    """A command under way."""

    def lines(self) -> Iterator[str]:
        """Its standard output, line by line, until it ends."""

    def renew(self) -> None:
        """Lets it run for another `lease_seconds`."""

    def interrupt(self) -> None:
        """Asks it to end at a safe point (SIGTERM)."""

    def kill(self) -> None:
        """Ends it and all that it started, at once."""

    def status(self) -> int | None:
        """How it ended: its exit status, or 128 and the signal's number; None while it runs."""

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""


class Launcher(Protocol):
    """Starts commands."""

    def start(self, launch: Launch) -> Running:
        """Starts one.

        Raises:
            LaunchError: it cannot be started here.
        """
