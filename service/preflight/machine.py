"""What this machine has left for a run."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class MachineMemory:
    """Memory of the device a run would use."""

    free_bytes: int
    """What this process may come to hold, what it holds already included."""
    resident_bytes: int
    """What it holds already."""


def machine_memory(device: torch.device) -> MachineMemory:
    """Measure the memory of `device`: of a GPU by the driver, of the host within the container's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device)
        return MachineMemory(free_bytes=int(free) + held, resident_bytes=held)
    held = int(psutil.Process().memory_info().rss)
    available = int(psutil.virtual_memory().available)
    return MachineMemory(free_bytes=min(available, container_room(_CGROUP) or available) + held, resident_bytes=held)


def container_room(cgroup: Path) -> int | None:
    """Bytes left under the memory limit of the control group (version 2) in `cgroup`; None where there is no limit."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    # Cached file pages count as used, but the kernel gives them up first.
    return None if limit == "max" else max(int(limit) - used + int(statistics.get("inactive_file", 0)), 0)
