"""The evaluation's side of a sandbox: a process that is started when it is needed and killed when it takes too long."""

import json
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

from evaluation.errors import EvaluationError

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
"""For the interpreter and its imports on a busy machine; a request's time begins after it."""

Task = Literal["evaluation.sandbox.database", "evaluation.sandbox.schema", "evaluation.sandbox.pattern"]


class SandboxStartError(EvaluationError):
    """The machine cannot start a worker; no answer is to blame."""


class SandboxError(EvaluationError):
    """A request has no reply: it took too long, or too much memory; the message says which."""


class Sandbox:
    """Asks one worker, one request at a time; safe to call from several threads.

    The worker ends with the object. One that was killed is started again by the next request.

    Args:
        task: module whose `answer` the worker calls.
        seconds: for each request.
    """

    def __init__(self, task: Task, seconds: float) -> None:
        self._task = task
        self._seconds = seconds
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's reply.

        Raises:
            SandboxError: the request took too long, or the worker died of it.
            SandboxStartError: there is no worker to ask.
        """
        with self._lock:
            worker = self._worker or self._started()
            try:
                return _read(worker, self._seconds, json.dumps(request).encode() + b"\n")
            except SandboxError:
                self.close()
                raise

    def close(self) -> None:
        """Ends the worker."""
        if self._end is not None:
            self._end()
        self._worker = self._end = None

    def _started(self) -> subprocess.Popen[bytes]:
        limit = math.ceil(self._seconds) + 1  # later than this side, which says why
        command = [sys.executable, "-m", "evaluation.sandbox.worker", self._task, str(limit)]
        try:
            self._worker = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_ROOT
            )
            self._end = weakref.finalize(self, _end, self._worker)
            _read(self._worker, _START_SECONDS)
        except (OSError, SandboxError) as error:
            self.close()
            raise SandboxStartError(f"a process for answers that are not trusted cannot be started: {error}") from error
        return self._worker


def _read(worker: subprocess.Popen[bytes], seconds: float, request: bytes = b"") -> dict[str, Any]:
    late = threading.Event()

    def kill() -> None:
        late.set()
        worker.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    stdin, stdout = _pipes(worker)
    try:
        stdin.write(request)
        stdin.flush()
        line = stdout.readline()
    except BrokenPipeError:
        line = b""
    finally:
        timer.cancel()
    if late.is_set():
        raise SandboxError("it takes too long")
    if not line.endswith(b"\n"):
        raise SandboxError("it needs too much memory")
    reply: dict[str, Any] = json.loads(line)
    return reply


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in _pipes(worker):
        # What it did not read any more is of no use.
        with suppress(BrokenPipeError):
            pipe.close()


def _pipes(worker: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    return worker.stdin, worker.stdout
