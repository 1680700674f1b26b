"""The compiling process, seen from the server."""

import contextlib
import signal
import subprocess
import sys

from service.engine.errors import EngineClosedError, EngineError, EngineFailedError, InvalidGrammarError
from service.engine.request import Grammar
from service.engine.sampling.compile_frames import Compiled, Setup, read_frame, write_frame

_WORKER = "service.engine.sampling.compile_worker"


class CompileProcess:
    """Started by its first grammar, and again after one that it died of. For one thread; `close` for any."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def compile(self, grammar: Grammar) -> str:
        """The compiled grammar as xgrammar's JSON.

        Raises:
            InvalidGrammarError: with xgrammar's reason, or the limit that was reached.
            EngineFailedError: there is no process.
            EngineClosedError: it was closed meanwhile.
        """
        process = self._process or self._start()
        try:
            answer = _ask(process, grammar)
        except (OSError, EOFError):
            raise self._cause_of_death(process) from None
        if not answer.is_valid:
            raise InvalidGrammarError(f"the grammar cannot be compiled: {answer.text}")
        return answer.text

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def reap(self) -> None:
        """Frees what belongs to a process that was ended."""
        if self._process is not None:
            _reap(self._process)
            self._process = None

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", _WORKER]
        # What xgrammar writes there is about clients' grammars.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._process = process
        try:
            if self._closed:
                raise EOFError
            _ask(process, self._setup)
        except (OSError, EOFError):
            self.reap()
            raise EngineFailedError(f"the grammar compiler did not start: {' '.join(command)}") from None
        return process

    def _cause_of_death(self, process: "subprocess.Popen[bytes]") -> EngineError:
        self._process = None
        code = _reap(process)
        if self._closed:
            return EngineClosedError()
        if code == -signal.SIGPROF:
            return InvalidGrammarError(
                f"the grammar takes more than {self._setup.seconds:g} s to compile, which is the limit; make it smaller"
            )
        return InvalidGrammarError("the grammar takes more memory to compile than there may be; make it smaller")


def _ask(process: "subprocess.Popen[bytes]", frame: Setup | Grammar) -> Compiled:
    assert process.stdin is not None
    assert process.stdout is not None
    write_frame(process.stdin, frame)
    return read_frame(process.stdout, Compiled)


def _reap(process: "subprocess.Popen[bytes]") -> int:
    """Waits for the end of a process that has stopped answering, and returns its code."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    # What it did not read is lost, as it should be.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
