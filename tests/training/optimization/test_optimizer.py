import pytest
import torch
from torch import nn

from training.config import TrainingConfig
from training.errors import CheckpointError
from training.optimization.optimizer import create_optimizer, optimizer_tensors, restore_optimizer
from training.optimization.step import update

CPU = torch.device("cpu")
CONFIG = TrainingConfig(learning_rate=0.1, weight_decay=0.01)


def step(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_a_restored_optimizer_goes_on_to_the_bit() -> None:
    parameters = {"a.w": nn.Parameter(torch.ones(3)), "b.w": nn.Parameter(torch.zeros(2, 2))}
    optimizer = create_optimizer(parameters, CONFIG, CPU)
    step(parameters, optimizer)
    copies = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in parameters.items()}
    restored = create_optimizer(copies, CONFIG, CPU)
    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer, parameters).items()}
    assert set(tensors) == {f"{name}/{kind}" for name in parameters for kind in ("step", "exp_avg", "exp_avg_sq")}
    restore_optimizer(restored, copies, tensors)
    step(parameters, optimizer)
    step(copies, restored)
    assert all(torch.equal(copies[name], parameter) for name, parameter in parameters.items())


def test_a_parameter_without_state_is_refused() -> None:
    parameters = {"a.w": nn.Parameter(torch.ones(3))}
    with pytest.raises(CheckpointError, match=r"a\.w"):
        restore_optimizer(create_optimizer(parameters, CONFIG, CPU), parameters, {"b.w/step": torch.tensor(1.0)})


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
def test_with_lora_plus_b_moves_at_a_multiple_of_the_rate(kind: str) -> None:
    config = TrainingConfig(learning_rate=0.01, lora_plus_ratio=4, optimizer=kind)
    parameters = {f"q_proj.{name}": nn.Parameter(torch.zeros(3)) for name in ("lora_a_RI", "lora_b_OR", "magnitude_O")}
    optimizer = create_optimizer(parameters, config, CPU)
    for rate in (0.01, 0.005):
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter)
        update(optimizer, rate)
        # With a constant gradient AdamW moves by the learning rate.
        moved = {name: (before[name] - parameter).mean().item() for name, parameter in parameters.items()}
        assert moved["q_proj.lora_a_RI"] == pytest.approx(rate, rel=0.05)
        assert moved["q_proj.magnitude_O"] == pytest.approx(rate, rel=0.05)
        assert moved["q_proj.lora_b_OR"] == pytest.approx(4 * rate, rel=0.05)
