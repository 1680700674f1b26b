"""Commands on this machine, each in a process group of its own that dies with its launcher."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from service.jobs.errors import LaunchError
from service.jobs.launcher import Launch
from storage.errors import StorageFullError

_LAST_BYTES = 8192
_KILL_SECONDS = 10
_LONGEST_LINE = 1 << 20
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SPINS = "1000"
"""Of a trainer's thread that waits for another, before it sleeps: a server on the same cores goes without them.
Alone it is as fast as with OpenMP's own 300,000; with none it is a tenth slower."""


class LocalLauncher:
    """Process groups on a leash.

    Args:
        logs: a folder for what the commands write to standard error.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def start(self, launch: Launch) -> "LocalRun":
        """See `Launcher`."""
        resources = launch.resources
        environment = {**os.environ, **_patience(), **launch.environment}
        if resources.cpu_threads is not None:
            environment |= dict.fromkeys(_THREADS, str(resources.cpu_threads))
        leash = (sys.executable, "-m", "service.jobs.leash")
        log = self._logs / f"{launch.name}.log"
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    [*leash, str(launch.lease_seconds), str(resources.niceness), *launch.command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError(str(log), error.strerror or "no space") from error
            raise LaunchError(f"{launch.name} cannot be started: {error.strerror or error}") from error
        return LocalRun(process, log)


class LocalRun:
    """One of them; see `Running`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log
        self._read = False

    def lines(self) -> Iterator[str]:
        """See `Running`."""
        assert self._process.stdout is not None
        self._read = True
        with self._process.stdout as output:
            while line := output.readline(_LONGEST_LINE):
                if line.endswith(b"\n") or len(line) < _LONGEST_LINE:
                    yield line.decode("utf-8", "replace").rstrip("\n")
                else:
                    # No event is so long, and memory is not for what nobody reads.
                    while (rest := output.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass

    def renew(self) -> None:
        """See `Running`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(b".")
            self._process.stdin.flush()

    def interrupt(self) -> None:
        """See `Running`."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """See `Running`."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self._read:
            # Otherwise whoever reads it closes it, at the end that comes now.
            self._process.stdout.close()

    def status(self) -> int | None:
        """See `Running`."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def last_words(self) -> str:
        """See `Running`."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _LAST_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""


def _patience() -> dict[str, str]:
    """Unless the operator has decided."""
    return {} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": _SPINS}
