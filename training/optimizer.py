"""AdamW over the adapter's parameters, with a state that travels by parameter name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from training.config import TrainingConfig
from training.errors import CheckpointError


def create_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainingConfig) -> AdamW:
    """AdamW (arXiv:1711.05101) with the usual betas; weight decay on the adapter's matrices as configured."""
    return AdamW(list(parameters.values()), lr=config.learning_rate, weight_decay=config.weight_decay)


def optimizer_tensors(optimizer: AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, `<parameter>/<field>`."""
    return {
        f"{name}/{field}": torch.as_tensor(value).detach().cpu().contiguous()
        for name, parameter in parameters.items()
        for field, value in optimizer.state[parameter].items()
    }


def restore_optimizer(optimizer: AdamW, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: a parameter has no state in `tensors`.
    """
    for name, parameter in parameters.items():
        fields = {key.rpartition("/")[2]: value for key, value in tensors.items() if key.rpartition("/")[0] == name}
        if not fields:
            raise CheckpointError(f"the checkpoint holds no optimizer state of {name}")
        optimizer.state[parameter] = {
            # AdamW keeps its step count on the CPU wherever the parameter is.
            field: value if field == "step" else value.to(parameter.device)
            for field, value in fields.items()
        }
