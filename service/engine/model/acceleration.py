"""What takes the place of plain torch operations on a device."""

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from service.engine.lora.grouped_routing import AddChanges
from service.engine.model.attention import Decode
from service.engine.model.recording import CudaRecorder, Recorder


@dataclass(frozen=True)
class Acceleration:
    """Kernels, and how passes made of them are recorded."""

    add_changes: AddChanges
    decode: Decode
    record: Recorder


def find_acceleration(device: torch.device) -> Acceleration | None:
    """None where torch's own operations are all there is: on the CPU, and on CUDA without Triton."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    # Not at the top, because torch brings Triton for CUDA only.
    from service.engine.lora.triton_kernels import add_changes
    from service.engine.model.triton_attention import paged_decode

    return Acceleration(add_changes, paged_decode, CudaRecorder(device))
