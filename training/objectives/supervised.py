"""Supervised learning: negative log-likelihood of the labelled tokens, in nats."""

from torch import Tensor

from training.layers.network import Network
from training.objectives.frozen_head import head_nll
from training.objectives.whole_model import labelled_nll
from training.rows.batches import Batch


class Supervised:
    """Chats by their answers, raw text by every token."""

    def total(self, network: Network, batch: Batch) -> Tensor:
        """The sum over the labelled tokens; logits are formed at their predictors alone."""
        if network.head is None:
            return labelled_nll(network.model, batch)
        hidden_RTC = network.hidden(batch.input_ids_RT, batch.position_ids_RT, batch.row_lengths)
        return head_nll(hidden_RTC[batch.predictors], batch.targets_L, network.head)

    def count(self, batch: Batch) -> int:
        """The labelled tokens."""
        return batch.num_labelled
