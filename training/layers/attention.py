"""Causal attention in which each row of a batch sees itself only.

Shape legend: B sequences side by side, T tokens across, H query heads, K key-value heads, D head dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """What attention is told besides queries, keys and values."""

    scale: float
    window: int | None
    """How many tokens back one sees, itself included; nothing: all."""
    dropout: float


def attend(
    q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor, shape: Shape, row_lengths: Sequence[int] | None = None
) -> Tensor:
    """[B, T, H, D].

    Args:
        q_BTHD: queries.
        k_BTKD: keys.
        v_BTKD: values.
        shape: scale, window, dropout.
        row_lengths: of the rows that lie end to end in the only sequence; without it each sequence is one row.
            Padding at its end needs no mask: no real token looks ahead.
    """
    q_BHTD, k_BKTD, v_BKTD = (heads.transpose(1, 2) for heads in (q_BTHD, k_BTKD, v_BTKD))
    if row_lengths is None or len(row_lengths) == 1:
        return _causal(q_BHTD, k_BKTD, v_BKTD, shape).transpose(1, 2)
    lengths = list(row_lengths)
    rows = zip(q_BHTD.split(lengths, 2), k_BKTD.split(lengths, 2), v_BKTD.split(lengths, 2), strict=True)
    return torch.cat([_causal(q, k, v, shape).transpose(1, 2) for q, k, v in rows], dim=1)


def _causal(q_BHTD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, shape: Shape) -> Tensor:
    length = q_BHTD.shape[2]
    mask_TT = None
    if shape.window is not None and length > shape.window:
        ones_TT = torch.ones(length, length, dtype=torch.bool, device=q_BHTD.device)
        mask_TT = ones_TT.tril_().triu_(1 - shape.window)
    return functional.scaled_dot_product_attention(
        q_BHTD,
        k_BKTD,
        v_BKTD,
        attn_mask=mask_TT,
        dropout_p=shape.dropout,
        is_causal=mask_TT is None,
        scale=shape.scale,
        enable_gqa=q_BHTD.shape[1] != k_BKTD.shape[1],
    )
