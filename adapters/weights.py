"""An adapter's tensors. Check the header first: this module allocates what the file says."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from adapters.config import LoraConfig
from adapters.coverage import LORA_A, LORA_B, MAGNITUDE, PREFIX
from adapters.errors import InvalidAdapterError
from adapters.files import WEIGHTS


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """One module's update, float32: shapes [rank, in], [out, rank] and, with DoRA, [out]."""

    lora_a_RI: torch.Tensor
    lora_b_OR: torch.Tensor
    magnitude_O: torch.Tensor | None = None


def load_weights(folder: Path, config: LoraConfig) -> dict[str, LoraWeights]:
    """Every module's weights, float32 on the CPU.

    Args:
        folder: holds `adapter_model.safetensors`.
        config: says whether magnitudes belong to it.

    Raises:
        InvalidAdapterError: a tensor cannot be read, holds NaN or infinity, or lacks its partner.
    """
    tensors = dict(finite_tensors(folder))
    modules = sorted(name[len(PREFIX) : -len(LORA_A)] for name in tensors if name.endswith(LORA_A))
    try:
        return {
            module: LoraWeights(
                tensors[PREFIX + module + LORA_A],
                tensors[PREFIX + module + LORA_B],
                tensors[PREFIX + module + MAGNITUDE] if config.dora else None,
            )
            for module in modules
        }
    except KeyError as error:
        raise InvalidAdapterError(f"{WEIGHTS}: tensor {error.args[0]!r} is missing") from error


def finite_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor by name, converted to float32, one in memory at a time.

    Raises:
        InvalidAdapterError: the file cannot be read, or a tensor holds NaN or infinity.
    """
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                tensor = file.get_tensor(name).to(torch.float32)
                # A sum is finite only if all is, and takes a third of the time; it may also overflow by itself.
                if not math.isfinite(float(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
                    raise InvalidAdapterError(
                        f"{WEIGHTS}: tensor {name!r} holds NaN or infinity: use a checkpoint from before it diverged"
                    )
                yield name, tensor
    except (SafetensorError, OSError) as error:
        raise InvalidAdapterError(f"{WEIGHTS} cannot be read: {error}") from error


def is_identity(weights: Mapping[str, LoraWeights]) -> bool:
    """Whether the adapter changes nothing: every A or every B is zero, and no magnitude is trained."""
    return all(
        part.magnitude_O is None and not (bool(part.lora_a_RI.any()) and bool(part.lora_b_OR.any()))
        for part in weights.values()
    )


def scan_identity(folder: Path) -> bool:
    """As `is_identity`, reading tensor by tensor; refuses NaN and infinity on the way.

    Raises:
        InvalidAdapterError: see `finite_tensors`.
    """
    changes = {name: bool(tensor.any()) for name, tensor in finite_tensors(folder)}
    partners = {name: name.removesuffix(LORA_A) + LORA_B for name in changes if name.endswith(LORA_A)}
    has_magnitude = any(name.endswith(MAGNITUDE) for name in changes)
    return not has_magnitude and not any(changes[name] and changes[partner] for name, partner in partners.items())
