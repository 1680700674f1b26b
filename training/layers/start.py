"""Where B and A begin, when not at zero: factors of the frozen weight.

Shape legend: I in_features, O out_features, R rank.
"""

from typing import Literal

import torch
from torch import Tensor

from training.errors import ConfigError

_ITERATIONS = 4
"""Of the subspace method; the PiSSA paper finds the loss after 4 as with an exact decomposition."""


def start(weight_OI: Tensor, rank: int, kind: Literal["pissa", "olora"]) -> tuple[Tensor, Tensor]:
    """B [O, R] and A [R, I] of the weight's part that is to be trained.

    Args:
        weight_OI: in float32.
        rank: at most the smaller side of the weight.
        kind: `pissa`: `U sqrt(S)` and `sqrt(S) V^T` of the largest singular values (arXiv:2404.02948), by randomised
            subspace iteration; `olora`: the first columns of Q and rows of R (arXiv:2406.01775).

    Raises:
        ConfigError: the weight has no such rank.
    """
    smaller = min(weight_OI.shape)
    if rank > smaller:
        raise ConfigError(
            f"init {kind} finds no rank {rank} in a weight of {tuple(weight_OI.shape)}: at most {smaller}"
        )
    if kind == "olora":
        q_OK, r_KI = torch.linalg.qr(weight_OI)
        return q_OK[:, :rank].contiguous(), r_KI[:rank].contiguous()
    u_OK, s_K, v_IK = torch.svd_lowrank(weight_OI, q=min(2 * rank, smaller), niter=_ITERATIONS)
    root_R = s_K[:rank].sqrt()
    return (u_OK[:, :rank] * root_R).contiguous(), (root_R[:, None] * v_IK[:, :rank].t()).contiguous()
