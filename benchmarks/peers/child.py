"""A process that is measured: started in a group of its own, frozen while others have their turn."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_LOG_CHARS = 2000
_STOP_SECONDS = 30


class ChildFailedError(Exception):
    """The process ended by itself, or was not ready in time; the message holds the end of its log."""


class Child:
    """A running command and everything it starts.

    Args:
        command: program and arguments.
        environment: on top of this process's own.
        log: file for what it prints.
        piped: give it `stdin` and `stdout` of its own instead; only errors are logged then.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, piped: bool = False
    ) -> None:
        self.command = list(command)
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Complains about an early end.

        Raises:
            ChildFailedError: it has ended.
        """
        if self.process.poll() is not None:
            raise self.failure(f"ended with status {self.process.returncode}")

    def log_lines(self, marker: str) -> list[str]:
        """Lines it has printed that hold the marker."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if marker in line]

    def failure(self, reason: str) -> ChildFailedError:
        """The error that tells why, with the end of the log."""
        tail = self._log.read_text(errors="replace")[-_LOG_CHARS:]
        return ChildFailedError(f"{self.command[0]} {reason}; the end of {self._log}:\n{tail}")

    def freeze(self) -> None:
        """Takes no CPU from here on; its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on where it was frozen."""
        self._signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Used so far, by the process and its living descendants."""
        total = 0.0
        for process in self._family():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def resident_bytes(self) -> int:
        """Memory of the process and its living descendants; shared pages count in each."""
        return sum(process.memory_info().rss for process in self._family())

    def stop(self) -> None:
        """Ends the whole group, by force where asking does not help."""
        self.thaw()
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            # All of the group have ended.
            return
