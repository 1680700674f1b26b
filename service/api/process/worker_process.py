"""The server's own worker: a process beside it, so that training has an interpreter and a memory of its own."""

import logging
import os
import subprocess
import sys
import time

from pydantic import SecretStr

from service.settings import Settings

_log = logging.getLogger(__name__)

_RESTART_SECONDS = 5.0
_TERM_SECONDS = 20.0


class WorkerProcess:
    """`lorad worker` with the server's settings, started again when it ends by itself."""

    def __init__(self, settings: Settings) -> None:
        self._command = [
            sys.executable, "-m", "service.cli", "worker", "--with-parent", "--slots", str(settings.workers),
        ]  # fmt: skip
        self._environment = {**os.environ, **as_environment(settings)}
        self._leaving = False
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL)
        except OSError as error:
            # The server goes on without: it is tried again at the next look.
            _log.error("the worker cannot be started: %s", error)

    def look(self) -> None:
        """Starts it, and starts it again some seconds after it has ended.

        Called now and then on the main thread: the worker ends with the thread that started it.
        """
        if self._leaving or (self._process is not None and self._process.poll() is None):
            return
        if self._process is None:
            self._start()
        elif self._ended_at is None:
            self._ended_at = time.monotonic()
            _log.error("the worker ended with status %d and will be started again", self._process.returncode)
        elif time.monotonic() - self._ended_at > _RESTART_SECONDS:
            self._ended_at = None
            self._start()

    def leave(self) -> None:
        """Lets its jobs write a checkpoint, and lets it end."""
        self._leaving = True
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Waits for its end, which is forced if it takes long."""
        self.leave()
        if self._process is None:
            return
        try:
            self._process.wait(_TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def as_environment(settings: Settings) -> dict[str, str]:
    """`LORAD_*` variables that give another process the same settings."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            found[f"LORAD_{name.upper()}"] = str(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return found
