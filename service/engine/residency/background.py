"""How threads that bring adapters share the cores with the engine's."""

import contextlib
import os
import sys
import threading

import torch

_NICE = 10


def stay_behind() -> None:
    """The calling thread computes by itself alone, and where cores are short the engine goes first."""
    # Asked first, because a thread's first look sets its number to the last one that any thread set.
    torch.get_num_threads()
    torch.set_num_threads(1)
    if sys.platform == "linux":
        # There a thread has a priority of its own; elsewhere it would be the whole process's.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
