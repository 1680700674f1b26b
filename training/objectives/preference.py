"""Direct preference optimisation (Rafailov et al., arXiv:2305.18290): pairs of answers, no reward model.

Shape legend: P pairs, of which a batch holds the better rows first and then the worse ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from training.layers.network import Network
from training.objectives.token_nll import token_nll
from training.rows.batches import Batch


class Preference:
    """The reference model is the base with the adapter off, so no second copy of it is held.

    Its likelihoods are computed batch by batch beside the policy's: a resumed run meets the same batches, and so the
    same bits.

    Args:
        beta: how dear it is to leave the reference.
        label_smoothing: the assumed share of pairs whose order is wrong (conservative DPO).
    """

    def __init__(self, beta: float, label_smoothing: float = 0.0) -> None:
        self._beta = beta
        self._label_smoothing = label_smoothing
        self._sums: dict[str, float] = {}
        self._num_pairs = 0

    def total(self, network: Network, batch: Batch) -> Tensor:
        """The sum over the pairs."""
        with torch.no_grad(), network.adapters_off():
            reference = _log_likelihoods(network, batch)
        policy = _log_likelihoods(network, batch)
        rewards_2P = self._beta * (policy - reference)
        chosen_P, rejected_P = rewards_2P.chunk(2)
        self._note(chosen_P.detach(), rejected_P.detach())
        return pair_losses(chosen_P - rejected_P, self._label_smoothing).sum()

    def count(self, batch: Batch) -> int:
        """The pairs."""
        return len(batch.rows)

    def take_figures(self) -> Mapping[str, float]:
        """Means over the pairs since the last call, under TRL's names."""
        figures = {name: total / self._num_pairs for name, total in self._sums.items()}
        self._sums, self._num_pairs = {}, 0
        return figures

    def _note(self, chosen_P: Tensor, rejected_P: Tensor) -> None:
        margins_P = chosen_P - rejected_P
        found = {
            "rewards/chosen": chosen_P,
            "rewards/rejected": rejected_P,
            "rewards/margins": margins_P,
            "rewards/accuracies": (margins_P > 0).double(),
        }
        for name, values_P in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + values_P.sum().item()
        self._num_pairs += len(chosen_P)


def pair_losses(margins_P: Tensor, label_smoothing: float) -> Tensor:
    """[P]: `-(1 - e) log sigmoid(margin) - e log sigmoid(-margin)`, with margins between rewards."""
    right = functional.logsigmoid(margins_P) * (1 - label_smoothing)
    wrong = functional.logsigmoid(-margins_P) * label_smoothing
    return -right - wrong


def _log_likelihoods(network: Network, batch: Batch) -> Tensor:
    """[2P]: of each row's labelled tokens together."""
    nll_L = token_nll(network, batch)
    return -nll_L.new_zeros(2 * len(batch.rows)).index_add(0, batch.owners_L, nll_L)
