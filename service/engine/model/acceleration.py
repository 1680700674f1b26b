"""What takes the place of plain torch operations on a device."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from service.engine.lora.grouped_routing import AddChanges
from service.engine.model.attention import Decode
from service.engine.model.operations import Operations, TorchOperations
from service.engine.model.recording import CudaRecorder, Recorder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acceleration:
    """Kernels, and how passes made of them are recorded."""

    add_changes: AddChanges
    decode: Decode
    record: Recorder


def find_acceleration(device: torch.device) -> Acceleration | None:
    """None where torch's own operations are all there is: on the CPU, and on CUDA where Triton is absent or fails."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    # Not at the top, because torch brings Triton for CUDA only.
    from service.engine.lora.triton_kernels import add_changes
    from service.engine.model.triton_attention import paged_decode

    return Acceleration(add_changes, paged_decode, CudaRecorder(device)) if compiles(paged_decode, device) else None


def find_operations(device: torch.device, dtype: torch.dtype) -> Operations:
    """Compiled functions for float32 on the CPU, torch's own operations elsewhere."""
    if device.type != "cpu" or dtype != torch.float32:
        return TorchOperations()
    # Not at the top, because they are compiled when they are first imported on a machine.
    from service.engine.model.compiled_operations import CompiledOperations

    return CompiledOperations()


def compiles(decode: Decode, device: torch.device) -> bool:
    """Tries a kernel; one that fails is logged. Triton needs a C compiler and a driver that suits it."""
    q_BHD, cache_S2KD = torch.zeros(1, 1, 16, device=device), torch.zeros(16, 2, 1, 16, device=device)
    tables_BP = torch.zeros(1, 1, dtype=torch.int32, device=device)
    try:
        decode(q_BHD, cache_S2KD, tables_BP, torch.ones(1, dtype=torch.int64, device=device), 1.0, 16)
    except Exception as error:  # noqa: BLE001 - many kinds, and torch can do it all
        _log.warning("Triton's kernels are left out: %s: %s", type(error).__name__, error)
        return False
    return True
