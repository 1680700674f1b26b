"""Which tokens a draw is among: min_p, top_k and top_p, in vLLM's order, each a share of what the one before has left.

Shapes: R rows, V vocabulary, C candidates of a row, likeliest first, 1 a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.request import SamplingParams

_NUM_CANDIDATES = 256
"""Of so many the limits usually take fewer; sorting whole rows takes 25 times as long on a CPU."""


@dataclass(frozen=True)
class Limits:
    """The parameters of R rows, on the device of their probabilities."""

    top_k_R1: Tensor
    top_p_R1: Tensor
    min_p_R1: Tensor

    @classmethod
    def of(cls, params: Sequence[SamplingParams], device: torch.device) -> "Limits":
        """0 and 1, which mean no limit, become numbers that no row reaches."""
        table = [(each.top_k or torch.inf, each.top_p if each.top_p < 1 else torch.inf, each.min_p) for each in params]
        table_R3 = torch.tensor(table, dtype=torch.float64, device=device)
        return cls(*table_R3.split(1, dim=1))

    def __getitem__(self, rows: Tensor) -> "Limits":
        return Limits(self.top_k_R1[rows], self.top_p_R1[rows], self.min_p_R1[rows])


@dataclass(frozen=True)
class Candidates:
    """What is left of each row: tokens likeliest first, equal ones by id, and weights, 0 for those ruled out."""

    token_ids_RC: Tensor
    weights_RC: Tensor

    def take(self, places_R: Tensor) -> Tensor:
        """The tokens at these columns."""
        return self.token_ids_RC.gather(1, places_R[:, None])[:, 0]


def filtered(probabilities_RV: Tensor, limits: Limits) -> list[tuple[Tensor, Candidates]]:
    """Rows (indices into R) and their candidates, in one or two groups; a row's share in them is its own affair."""
    num_rows, size = probabilities_RV.shape
    every_R = torch.arange(num_rows, device=probabilities_RV.device)
    # A GPU sorts faster than it tells the CPU that it would have to.
    if size <= _NUM_CANDIDATES or probabilities_RV.is_cuda:
        return [(every_R, _limited(*_all_in_order(probabilities_RV), limits)[0])]
    likeliest, enough_R = _limited(*_likeliest_in_order(probabilities_RV), limits)
    if bool(enough_R.all()):
        return [(every_R, likeliest)]
    few_R, many_R = every_R[enough_R], every_R[~enough_R]
    whole, _ = _limited(*_all_in_order(probabilities_RV[many_R]), limits[many_R])
    return [(few_R, Candidates(likeliest.token_ids_RC[few_R], likeliest.weights_RC[few_R])), (many_R, whole)]


def _all_in_order(probabilities_RV: Tensor) -> tuple[Tensor, Tensor]:
    values_RV, token_ids_RV = probabilities_RV.sort(dim=1, descending=True, stable=True)
    return values_RV, token_ids_RV


def _likeliest_in_order(probabilities_RV: Tensor) -> tuple[Tensor, Tensor]:
    # topk says nothing of the order of equal values.
    token_ids_RC = probabilities_RV.topk(_NUM_CANDIDATES, dim=1).indices.sort(dim=1).values
    values_RC, order_RC = probabilities_RV.gather(1, token_ids_RC).sort(dim=1, descending=True, stable=True)
    return values_RC, token_ids_RC.gather(1, order_RC)


def _limited(values_RC: Tensor, token_ids_RC: Tensor, limits: Limits) -> tuple[Candidates, Tensor]:
    """The candidates that stay, and for each row whether no token outside of them could have."""
    values_RC = values_RC.double()
    ranks_C = torch.arange(values_RC.shape[1], device=values_RC.device)
    first_RC = (ranks_C < limits.top_k_R1) & (values_RC >= limits.min_p_R1 * values_RC[:, :1])
    sums_RC = values_RC.where(first_RC, 0).cumsum(1)
    is_cut_R1 = limits.top_k_R1.isfinite() | (limits.min_p_R1 > 0)
    whole_R1 = sums_RC[:, -1:].where(is_cut_R1, 1)
    # A token stays if those before it have not reached the sum yet; so the first always stays.
    kept_RC = first_RC & (sums_RC - values_RC < limits.top_p_R1 * whole_R1)
    kept_RC[:, 0] = True
    last_R1 = first_RC.where(is_cut_R1, kept_RC).sum(1, keepdim=True) - 1
    # Where the last one equals the last candidate, one outside may equal it too and have the smaller id.
    enough_R = (values_RC.gather(1, last_R1.clamp(min=0)) > values_RC[:, -1:])[:, 0]
    return Candidates(token_ids_RC, values_RC.where(kept_RC, 0)), enough_R
