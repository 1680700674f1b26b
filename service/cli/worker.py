"""`lorad worker`: runs finetuning jobs."""

import ctypes
import os
import signal
import sys
from typing import Annotated

import typer

from service.cli.console import say
from service.cli.options import settings

_PR_SET_PDEATHSIG = 1


def worker(
    slots: Annotated[int, typer.Option(min=1, max=64, help="Jobs at once.")] = 1,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no job waits.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Run finetuning jobs from the queue of LORAD_DATABASE_URL, beside a server or on a machine of its own.

    SIGTERM lets running jobs write a checkpoint; another worker goes on from there.
    """
    if with_parent:
        _end_with_parent()
    chosen = settings()
    from service.api.process.logs import configure_logs
    from service.jobs.opening import open_worker
    from service.registry.opening import open_registry

    opened = open_worker(chosen, open_registry(chosen), slots=slots)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: opened.leave())
    configure_logs(chosen.log_level)
    say(f"worker {opened.name} runs {slots} job{'s' if slots > 1 else ''} at once")
    opened.run(until_idle=until_idle)


def _end_with_parent() -> None:
    """SIGTERM when the server that started this process is gone, however it ended."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent or parent == 1:
        sys.exit(0)
