"""How much memory a process has used at most."""

import resource
import sys

import torch


def peak_memory_bytes(device: torch.device) -> int:
    """On CUDA the device's peak allocation, else the process's largest resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024
