"""Numbers added to logits: `logit_bias`, and minus infinity for what may not come yet.

Shapes: N rows, V vocabulary, B biased tokens of one row or of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bias:
    """Token ids and what is added to their logits."""

    token_ids_B: Tensor
    values_B: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, float]]) -> "Bias":
        """Of (token id, value); a token named twice gets the sum."""
        return cls(
            torch.tensor([token_id for token_id, _ in pairs], dtype=torch.long),
            torch.tensor([value for _, value in pairs], dtype=torch.float32),
        )

    def __add__(self, other: "Bias") -> "Bias":
        return Bias(torch.cat((self.token_ids_B, other.token_ids_B)), torch.cat((self.values_B, other.values_B)))

    def __len__(self) -> int:
        return len(self.token_ids_B)


def add_biases(logits_NV: Tensor, biases: Sequence[tuple[int, Bias]]) -> None:
    """Adds, in place, to the rows that have a bias.

    Args:
        logits_NV: in float32.
        biases: row and its bias.
    """
    if not biases:
        return
    lengths_R = torch.tensor([len(bias) for _, bias in biases])
    rows_B = torch.tensor([row for row, _ in biases]).repeat_interleave(lengths_R)
    token_ids_B = torch.cat([bias.token_ids_B for _, bias in biases])
    values_B = torch.cat([bias.values_B for _, bias in biases])
    device = logits_NV.device
    places = (rows_B.to(device), token_ids_B.to(device))
    logits_NV.index_put_(places, values_B.to(device), accumulate=True)
