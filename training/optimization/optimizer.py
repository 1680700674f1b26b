"""AdamW over the adapter's parameters, with a state that travels by parameter name."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from training.config import TrainingConfig
from training.errors import CheckpointError, ConfigError


def create_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainingConfig, device: torch.device) -> Optimizer:
    """AdamW (arXiv:1711.05101) with the usual betas; weight decay on the adapter's matrices as configured.

    With LoRA+ the B matrices are a group of their own, whose learning rate is a multiple (`rate`) of the others'.

    Raises:
        ConfigError: `device` cannot run the optimizer that is asked for.
    """
    values = _groups(parameters, config.lora_plus_ratio)
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        # One kernel over all parameters: an adapter has hundreds of small ones.
        return AdamW(values, **settings, fused=True)
    if config.optimizer == "paged_adamw_8bit" and device.type != "cuda":
        raise ConfigError("optimizer paged_adamw_8bit moves pages between host and CUDA memory; here use adamw_8bit")
    kinds = importlib.import_module("bitsandbytes.optim")
    kind = kinds.PagedAdamW8bit if config.optimizer == "paged_adamw_8bit" else kinds.AdamW8bit
    optimizer: Optimizer = kind(values, **settings)
    return optimizer


def _groups(parameters: Mapping[str, nn.Parameter], ratio: float | None) -> list[dict[str, Any]]:
    if ratio is None:
        return [{"params": list(parameters.values()), "rate": 1.0}]
    b_matrices = {name for name in parameters if name.endswith(".lora_b_OR")}
    return [
        {"params": [value for name, value in parameters.items() if name not in b_matrices], "rate": 1.0},
        {"params": [parameters[name] for name in parameters if name in b_matrices], "rate": ratio},
    ]


def optimizer_tensors(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, `<parameter>/<field>`."""
    return {
        # A copy: bitsandbytes shares one quantisation map between parameters, which safetensors refuses.
        f"{name}/{field}": torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, parameter in parameters.items()
        for field, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: a parameter has no state in `tensors`.
    """
    stored: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        stored.setdefault(name, {})[field] = value
    for name, parameter in parameters.items():
        if name not in stored:
            raise CheckpointError(f"the checkpoint holds no optimizer state of {name}")
        optimizer.state[parameter] = {
            field: _placed(optimizer, field, value, parameter.device) for field, value in stored[name].items()
        }


def _placed(optimizer: Optimizer, field: str, value: Tensor, device: torch.device) -> Tensor | int:
    if field == "step" and not isinstance(optimizer, AdamW):
        return int(value)
    return value.to(device)
