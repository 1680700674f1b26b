"""The masks of all grammars of a batch, as one tensor of bits.

Shapes: N rows, V vocabulary, W words of 32 bits.
"""

from collections.abc import Sequence

import xgrammar
from torch import Tensor

from service.engine.sampling.state import SamplingState


def apply_grammars(logits_NV: Tensor, states: Sequence[tuple[int, SamplingState]]) -> None:
    """Sets the logits of tokens that a row's grammar forbids to minus infinity, in place.

    Args:
        logits_NV: in float32.
        states: row and its state, of the rows with a matcher.
    """
    if not states:
        return
    num_rows, size = logits_NV.shape
    mask_NW = xgrammar.allocate_token_bitmask(num_rows, size)
    for row, state in states:
        if state.matcher is not None:
            state.matcher.fill(mask_NW[row], state.barred_ids)
    rows = [row for row, _ in states]
    xgrammar.apply_token_bitmask_inplace(logits_NV, mask_NW.to(logits_NV.device), vocab_size=size, indices=rows)
