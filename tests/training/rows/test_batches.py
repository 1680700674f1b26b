import pytest
import torch

from base.rendering import Example
from training.rows.batches import make_batch


def test_a_pack_begins_its_positions_again_with_each_row() -> None:
    examples = [Example((5, 6, 7), (False, True, True)), Example((8, 9), (False, True))]
    batch = make_batch(examples, [1, 0], "packed", torch.device("cpu"))
    assert batch.input_ids_RT.tolist() == [[8, 9, 5, 6, 7]]
    assert batch.position_ids_RT.tolist() == [[0, 1, 0, 1, 2]]
    assert batch.attention_mask_RT is None
    assert batch.row_lengths == (2, 3)
    assert (batch.num_tokens, batch.rows) == (5, (1, 0))


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_each_predictor_stands_before_its_target(layout: str) -> None:
    examples = [Example((5, 6, 7), (False, False, True)), Example((8, 9), (False, True))]
    batch = make_batch(examples, [0, 1], layout, torch.device("cpu"))  # type: ignore[arg-type]
    rows, columns = batch.predictors
    assert batch.input_ids_RT[rows, columns].tolist() == [6, 8]
    assert batch.targets_L.tolist() == [7, 9]
