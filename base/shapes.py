"""The linear layers of a base, without loading its weights."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM


def linear_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """Module name (`model.layers.0.self_attn.q_proj`) to (out_features, in_features), the output head left out."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return module_shapes(model)


def module_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """As `linear_shapes`, of a model in memory, quantised or not."""
    heads = head_names(model)
    return {
        name: (int(module.out_features), int(module.in_features))
        for name, module in model.named_modules()
        if name not in heads and hasattr(module, "out_features") and hasattr(module, "in_features")
    }


def head_names(model: nn.Module) -> frozenset[str]:
    """The names of the output head's modules: PEFT's `all-linear` leaves them out, and so does quantisation."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return frozenset(name for name, module in model.named_modules() if module is head)


def embedding_rows(model: nn.Module) -> int:
    """Token ids below this number can be embedded; a little more than the vocabulary where it is padded."""
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    return int(weight.shape[0])


def num_parameters(model: nn.Module) -> int:
    """Weights of the model; a quantised layer counts as the matrix and the bias it stands for."""
    shapes = module_shapes(model)
    biased = {name for name in shapes if getattr(model.get_submodule(name), "bias", None) is not None}
    linear = sum(rows * (columns + (name in biased)) for name, (rows, columns) in shapes.items())
    in_linears = {id(tensor) for name in shapes for tensor in model.get_submodule(name).parameters(recurse=False)}
    return linear + sum(tensor.numel() for tensor in model.parameters() if id(tensor) not in in_linears)
