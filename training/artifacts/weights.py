"""LoRA layers to and from an adapter folder in PEFT's format."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adapters.config import LoraConfig
from adapters.files import WEIGHTS
from training.errors import CheckpointError
from training.layers.lora import LoraLinear

_PREFIX = "base_model.model."


def write_layers(folder: Path, layers: Mapping[str, LoraLinear], adapter: LoraConfig) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors`; `peft.PeftModel.from_pretrained` loads them."""
    adapter.write(folder)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in _tensors(layers).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def read_layers(folder: Path, layers: Mapping[str, LoraLinear]) -> None:
    """Sets the layers' parameters to what `write_layers` stored.

    Raises:
        CheckpointError: the folder's tensors are not exactly those of `layers`.
    """
    stored = load_file(folder / WEIGHTS)
    own = _tensors(layers)
    if {key: tensor.shape for key, tensor in stored.items()} != {key: tensor.shape for key, tensor in own.items()}:
        raise CheckpointError(f"{folder / WEIGHTS} does not hold this run's tensors; delete the folder")
    for module, layer in layers.items():
        a, b = stored[f"{_PREFIX}{module}.lora_A.weight"], stored[f"{_PREFIX}{module}.lora_B.weight"]
        if layer.start_a_RI is not None:
            # The second half is what was taken out of the base, with a minus in B; see `LoraLinear.matrices`.
            rank = layer.lora_a_RI.shape[0]
            device = layer.lora_a_RI.device
            layer.set_start(a[rank:].to(device), -b[:, rank:].to(device))
            a, b = a[:rank], b[:, :rank]
        layer.lora_a_RI.data.copy_(a)
        layer.lora_b_OR.data.copy_(b)
        if isinstance(layer.magnitude_O, nn.Parameter):
            layer.magnitude_O.data.copy_(stored[f"{_PREFIX}{module}.lora_magnitude_vector"])


def _tensors(layers: Mapping[str, LoraLinear]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for module, layer in layers.items():
        a, b = layer.matrices()
        found[f"{_PREFIX}{module}.lora_A.weight"] = a
        found[f"{_PREFIX}{module}.lora_B.weight"] = b
        if isinstance(layer.magnitude_O, nn.Parameter):
            found[f"{_PREFIX}{module}.lora_magnitude_vector"] = layer.magnitude_O
    return found
