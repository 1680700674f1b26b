"""The process's side: one JSON request a line in, one JSON reply a line out, after an empty reply when it is ready.

Started as `python -m evaluation.sandbox.worker MODULE SECONDS`; the module's `answer` makes a request a reply.
"""

import importlib
import json
import resource
import signal
import sys
from typing import Any

MAX_MEMORY_BYTES = 1 << 30


def main(module: str, seconds: int) -> None:
    """Answers until the other side hangs up; dies of a request that takes longer than so many seconds."""
    answer = importlib.import_module(module).answer
    # From here on the process needs no file and cannot write one.
    for limit, value in ((resource.RLIMIT_AS, MAX_MEMORY_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    _reply({})
    for line in sys.stdin.buffer:
        # For when the other side is gone, and cannot kill it: without a handler the alarm ends the process at once.
        signal.alarm(seconds)
        try:
            reply = answer(json.loads(line))
        except MemoryError:
            reply = {"error": "it needs too much memory"}
        except RecursionError:
            reply = {"error": "it is nested too deeply"}
        signal.alarm(0)
        _reply(reply)


def _reply(reply: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
