"""The seam between the loop and what it minimises."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from training.layers.network import Network
from training.rows.batches import Batch


class Objective(Protocol):
    """A loss that is a sum over tokens or pairs.

    The loop divides by what a whole optimizer step counts, over all its passes (and, one day, processes): an objective
    that took means itself would weigh tokens by the pass they happen to be in. Preference objectives find the
    reference model under `network.adapters_off()`.
    """

    def total(self, network: Network, batch: Batch) -> Tensor:
        """The sum over `batch`, a scalar in float32 with its graph."""

    def count(self, batch: Batch) -> int:
        """How many terms that sum has."""

    def take_figures(self) -> Mapping[str, float]:
        """Means of what else was measured since the last call; the loop calls it after each step and evaluation."""


@torch.no_grad()
def mean_loss(objective: Objective, network: Network, batches: Iterable[Batch]) -> float:
    """The loss of a whole set: the objective's sum over all batches, divided by the number of its terms."""
    total, count = 0.0, 0
    for batch in batches:
        total += objective.total(network, batch).item()
        count += objective.count(batch)
    return total / count
