"""One optimizer step: gradients over all its passes, the clip, the update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim import Optimizer

from training.layers.network import Network
from training.objectives.objective import Objective
from training.rows.batches import Batch


@dataclass(frozen=True)
class Outcome:
    """What one step found."""

    total: float
    """The objective summed over all passes."""
    count: int
    """How many terms that sum has."""
    grad_norm: float
    """Before clipping."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else the objective measured."""


def accumulate(network: Network, objective: Objective, batches: Sequence[Batch], max_grad_norm: float) -> Outcome:
    """Leaves the gradients of the mean over all `batches` in the network's parameters, clipped."""
    parameters = list(network.parameters().values())
    for parameter in parameters:
        parameter.grad = None
    # Divided by what the whole step counts, so that accumulation weighs every token alike.
    count = sum(objective.count(batch) for batch in batches)
    total = 0.0
    for batch in batches:
        part = objective.total(network, batch)
        (part / count).backward()
        total += part.item()
    grad_norm = float(nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    return Outcome(total, count, grad_norm, objective.take_figures())


def update(optimizer: Optimizer, learning_rate: float) -> None:
    """Moves the parameters along the gradients that `accumulate` left, each group at its `rate` times the rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]
    with torch.no_grad():
        optimizer.step()
