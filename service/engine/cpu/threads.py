"""How many threads compute; torch and numba each keep a number of their own for every thread that calls them."""

import numba
import torch
from numba import config

# The one that torch uses too: both then share its threads, and none of them waits for the other's to sleep.
config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]


def use_threads(count: int) -> None:
    """For what the calling thread computes from now on."""
    # Asked first, because a new thread's first look at the number sets it back.
    torch.get_num_threads()
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
