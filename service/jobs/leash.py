"""`python -m service.jobs.leash SECONDS NICENESS COMMAND…`: a command that does not outlive who holds the other end.

The holder writes a byte to standard input now and then. When none came for SECONDS, or the holder is gone, the command
and all that it started are killed: another worker may have the job by then. SIGTERM is passed on to the command.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
_STDIN = 0


def main(seconds: float, command: list[str]) -> int:
    """Runs the command; its status, or 128 and the number of the signal that ended it."""
    # preexec_fn is sound here: there are no threads.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.send_signal(signal.SIGTERM))
    deadline = time.monotonic() + seconds
    while child.poll() is None:
        ready, _, _ = select.select([_STDIN], [], [], _LOOK_SECONDS)
        if ready:
            if not os.read(_STDIN, 4096):
                _kill_all()
            deadline = time.monotonic() + seconds
        if time.monotonic() > deadline:
            _kill_all()
    status = child.returncode
    return status if status >= 0 else 128 - status


def _stand_back(niceness: int) -> None:
    """Lets others have the processor first."""
    os.nice(niceness)
    # Where Linux groups processes by session, niceness counts within a group only, and this one has its own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_all() -> None:
    """This process too: it leads the group."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _stand_back(int(sys.argv[2]))
    sys.exit(main(float(sys.argv[1]), sys.argv[3:]))
