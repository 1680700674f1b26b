"""The negative log-likelihood of labelled tokens, by whichever path the network allows."""

from torch import Tensor

from training.layers.network import Network
from training.objectives.frozen_head import head_nll
from training.objectives.whole_model import labelled_nll
from training.rows.batches import Batch


def token_nll(network: Network, batch: Batch) -> Tensor:
    """Of each labelled token, [L] in float32; logits are formed at their predictors alone."""
    if network.head is None:
        return labelled_nll(network.model, batch)
    hidden_RTC = network.hidden(batch.input_ids_RT, batch.position_ids_RT, batch.row_lengths)
    return head_nll(hidden_RTC[batch.predictors], batch.targets_L, network.head)
