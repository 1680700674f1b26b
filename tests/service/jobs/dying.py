"""`python dying.py N COMMAND…`: the `lorad` command, which kills itself at its N-th fsync, rename or link."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_CALLS = ("fsync", "rename", "replace", "link")


def die_at(number: int) -> None:
    """Lets this process do `number` - 1 more of the calls that make writing durable."""
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **keywords)

        return counting

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    die_at(int(sys.argv.pop(1)))
    from service.cli.main import main

    main()
