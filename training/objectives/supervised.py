"""Supervised learning: negative log-likelihood of the labelled tokens, in nats."""

from collections.abc import Mapping

from torch import Tensor

from training.layers.network import Network
from training.objectives.token_nll import token_nll
from training.rows.batches import Batch


class Supervised:
    """Chats by their answers, raw text by every token."""

    def total(self, network: Network, batch: Batch) -> Tensor:
        """The sum over the labelled tokens."""
        return token_nll(network, batch).sum()

    def count(self, batch: Batch) -> int:
        """The labelled tokens."""
        return batch.num_labelled

    def take_figures(self) -> Mapping[str, float]:
        """None beside the loss."""
        return {}
