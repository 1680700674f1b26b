"""The numbers of a base that memory and defaults depend on, read from its folder without its weights."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from base.shapes import module_shapes, num_parameters
from base.stored import StoredWeights

Targets = Collection[str] | Literal["all-linear"]


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a decoder. Pure numbers: formulas over them need no model."""

    model_type: str
    """transformers' name of the architecture: `llama`, `qwen3`, …"""
    num_parameters: int
    linear: dict[str, tuple[int, int]]
    """(out_features, in_features) of each linear layer but the output head: what is quantised and adapted."""
    hidden_size: int
    num_layers: int
    attention_size: int
    """Query heads times head size."""
    key_size: int
    """Key heads times head size."""
    norm_size: int
    """Elements that the norms of one layer take in for a token: 2 x hidden size in Llama, more with head norms."""
    intermediate_size: int
    vocabulary_size: int
    context_tokens: int
    stored_dtype_bytes: int = 4
    """Of a weight in the base's file."""

    @property
    def linear_parameters(self) -> int:
        """Weights in `linear`."""
        return sum(rows * columns for rows, columns in self.linear.values())


def model_shape(folder: Path) -> ModelShape:
    """Read the shape of the base in `folder`; its weights are not touched."""
    whole = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(whole)
    config = whole.get_text_config()
    heads = int(config.num_attention_heads)
    head_size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return ModelShape(
        model_type=str(config.model_type),
        num_parameters=num_parameters(model),
        linear=module_shapes(model),
        hidden_size=int(config.hidden_size),
        num_layers=int(config.num_hidden_layers),
        attention_size=heads * head_size,
        key_size=int(getattr(config, "num_key_value_heads", None) or heads) * head_size,
        norm_size=_norm_size(model, heads, int(getattr(config, "num_key_value_heads", None) or heads)),
        intermediate_size=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
        vocabulary_size=int(config.vocab_size),
        context_tokens=int(config.max_position_embeddings),
        stored_dtype_bytes=_stored_dtype_bytes(folder),
    )


def _stored_dtype_bytes(folder: Path) -> int:
    kinds = (tensor.dtype for tensor in StoredWeights(folder).tensors.values())
    return max((kind.itemsize for kind in kinds if kind is not None), default=0)


def _norm_size(model: Any, heads: int, key_heads: int) -> int:
    first = model.get_decoder().layers[0]
    sizes = {
        name: int(module.weight.shape[0])
        for name, module in first.named_modules()
        if type(module).__name__.endswith("Norm")
    }
    repeats = {"q_norm": heads, "k_norm": key_heads}
    return sum(size * repeats.get(name.rpartition(".")[2], 1) for name, size in sizes.items())


def targeted_layers(shape: ModelShape, targets: Targets) -> list[tuple[int, int]]:
    """Return the sizes of the layers that `targets` names, by whole name or last part."""
    return [
        size
        for name, size in shape.linear.items()
        if targets == "all-linear" or any(name == target or name.endswith(f".{target}") for target in targets)
    ]


def adapter_parameters(shape: ModelShape, rank: int, targets: Targets, *, dora: bool = False) -> int:
    """Count the weights of a LoRA adapter: `rank * (in + out)` for each targeted layer, and `out` more with DoRA."""
    sizes = targeted_layers(shape, targets)
    return sum(rank * (rows + columns) + (rows if dora else 0) for rows, columns in sizes)
