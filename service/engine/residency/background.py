"""How threads that bring adapters share the cores with the engine's."""

import torch


def compute_alone() -> None:
    """The calling thread computes without others, so that it does not take all cores from the engine.

    A lower priority would not help: a thread that waits for a core may hold the interpreter's lock meanwhile.
    """
    # Asked first, because a thread's first look sets its number to the last one that any thread set.
    torch.get_num_threads()
    torch.set_num_threads(1)
