"""A base with an adapter beside its layers, never in their weights: what an export is held against.

Written out once more, apart from the engine and the trainer, so that a mistake in merging cannot hide in shared code.

Shape legend: I in_features, O out_features.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from adapters.config import LoraConfig
from adapters.weights import LoraWeights

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


@contextmanager
def applied(model: nn.Module, weights: Mapping[str, LoraWeights], config: LoraConfig) -> Iterator[None]:
    """Within it the layers of `model`, unquantised, answer as the adapter's."""
    handles = [
        model.get_submodule(name).register_forward_hook(_hook(part, config.scaling(name)))
        for name, part in weights.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(part: LoraWeights, scaling: float) -> Hook:
    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        lora_a_RI, lora_b_OR = part.lora_a_RI.to(output), part.lora_b_OR.to(output)
        delta = linear(linear(inputs[0], lora_a_RI), lora_b_OR) * scaling
        if part.magnitude_O is None:
            return output + delta
        weight_OI = layer.get_parameter("weight")
        length_O = torch.linalg.vector_norm(weight_OI + scaling * lora_b_OR @ lora_a_RI, dim=1)
        bias = getattr(layer, "bias", None)
        offset = 0.0 if bias is None else bias
        result: Tensor = part.magnitude_O.to(output) / length_O * (output - offset + delta) + offset
        return result

    return add
