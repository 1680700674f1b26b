"""Random choices: one uniform number a row, from the row's own generator, through the inverse of its distribution.

Shapes: R rows that draw, V vocabulary, C columns to choose among.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.engine.sampling.filters import Limits, filtered
from service.engine.sampling.state import SamplingState


def draw(logits_RV: Tensor, states: Sequence[SamplingState]) -> Tensor:
    """A token of each row, by its temperature and limits; anything where the row is not a distribution.

    Args:
        logits_RV: in float32; changed.
        states: of these rows.
    """
    device = logits_RV.device
    temperatures_R = torch.tensor([state.params.temperature for state in states], device=device)
    uniforms_R = torch.tensor([state.uniform() for state in states], dtype=torch.float64, device=device)
    # Softmax works row by row, in the same order of operations wherever the row stands.
    probabilities_RV = logits_RV.div_(temperatures_R[:, None]).softmax(dim=1)
    narrow = [row for row, state in enumerate(states) if state.is_filtered]
    if not narrow:
        return _places(probabilities_RV, uniforms_R)
    tokens_R = torch.empty(len(states), dtype=torch.long, device=device)
    free = [row for row, state in enumerate(states) if not state.is_filtered]
    if free:
        tokens_R[free] = _places(probabilities_RV[free], uniforms_R[free])
    limits = Limits.of([states[row].params for row in narrow], device)
    tokens_R[narrow] = _draw_filtered(probabilities_RV[narrow], limits, uniforms_R[narrow])
    return tokens_R


def _draw_filtered(probabilities_RV: Tensor, limits: Limits, uniforms_R: Tensor) -> Tensor:
    tokens_R = torch.empty_like(uniforms_R, dtype=torch.long)
    for rows_G, candidates in filtered(probabilities_RV, limits):
        tokens_R[rows_G] = candidates.take(_places(candidates.weights_RC, uniforms_R[rows_G]))
    return tokens_R


def _places(weights_RC: Tensor, uniforms_R: Tensor) -> Tensor:
    """The first column of each row at which the running sum of weights passes that share of the whole."""
    # In float64: in float32 the rounding of 100,000 sums would be seen in the frequencies of rare tokens.
    sums_RC = weights_RC.cumsum(dim=1, dtype=torch.float64)
    whole_R1 = sums_RC[:, -1:]
    # Rounding may take the product up to the whole, which no sum passes.
    aims_R1 = torch.minimum(uniforms_R[:, None] * whole_R1, whole_R1.nextafter(torch.zeros_like(whole_R1)))
    places_R = torch.searchsorted(sums_RC, aims_R1, right=True)[:, 0]
    return places_R.clamp_(max=weights_RC.shape[1] - 1)
