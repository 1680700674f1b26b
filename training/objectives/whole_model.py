"""The negative log-likelihood of labelled tokens by a model that is called as a whole, whatever its architecture."""

from torch import Tensor, nn
from torch.nn import functional

from training.rows.batches import Batch


def labelled_nll(model: nn.Module, batch: Batch) -> Tensor:
    """Of each labelled token of the batch, [L] in float32.

    Logits are computed only at columns that predict a labelled token: the output head over every position would cost
    more than the rest of a small model.
    """
    rows, columns = batch.predictors
    kept_columns, column_of = columns.unique(return_inverse=True)
    logits_RKV = model(
        input_ids=batch.input_ids_RT,
        attention_mask=batch.attention_mask_RT,
        position_ids=batch.position_ids_RT,
        use_cache=False,
        logits_to_keep=kept_columns,
    ).logits
    return functional.cross_entropy(logits_RKV[rows, column_of].float(), batch.targets_L, reduction="none")
