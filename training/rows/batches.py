"""Token rows to tensors, packed end to end or padded side by side.

Shape legend: R rows in a batch, T tokens across, L labelled positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from base.rendering import Example

Layout = Literal["packed", "padded"]


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass.

    Packed: one sequence, in which `position_ids` begin again with each row; with no attention mask given,
    transformers reads the rows' borders from them and attends within each row only.
    """

    input_ids_RT: Tensor
    position_ids_RT: Tensor
    attention_mask_RT: Tensor | None
    """1 for a token, 0 for padding; absent when packed."""
    row_lengths: tuple[int, ...] | None
    """Of the rows that lie end to end when packed; absent when padded."""
    predictors: tuple[Tensor, Tensor]
    """Row and column, [L] each, of the positions whose next token is labelled."""
    targets_L: Tensor
    """The labelled tokens."""
    owners_L: Tensor
    """Which of the batch's rows each labelled token belongs to, from 0; of pairs all better rows, then all worse."""
    num_tokens: int
    """Without padding."""
    rows: tuple[int, ...]
    """Which of the training rows these are, for messages."""

    @property
    def num_labelled(self) -> int:
        """The tokens that count in the loss."""
        return int(self.targets_L.shape[0])


def make_batch(
    examples: Sequence[Example],
    rows: Sequence[int],
    layout: Layout,
    device: torch.device,
    rejected: Sequence[Example] = (),
) -> Batch:
    """The batch of `examples[row]` for `row` in `rows`, and after them of `rejected[row]` where there are pairs."""
    chosen = [side[row] for side in (examples, rejected) if side for row in rows]
    lengths = [len(example.input_ids) for example in chosen]
    build = _packed if layout == "packed" else _padded
    ids, positions, mask, predictors, targets, owners = build(chosen, lengths)
    return Batch(
        input_ids_RT=ids.to(device),
        position_ids_RT=positions.to(device),
        attention_mask_RT=None if mask is None else mask.to(device),
        row_lengths=tuple(lengths) if layout == "packed" else None,
        predictors=(predictors[0].to(device), predictors[1].to(device)),
        targets_L=targets.to(device),
        owners_L=owners.to(device),
        num_tokens=sum(lengths),
        rows=tuple(rows),
    )


_Tensors = tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, Tensor], Tensor, Tensor]


def _packed(chosen: Sequence[Example], lengths: Sequence[int]) -> _Tensors:
    ids = torch.tensor([token for example in chosen for token in example.input_ids])
    positions = torch.cat([torch.arange(length) for length in lengths])
    # The first token of a row is predicted by nothing: the position before it belongs to another row.
    labelled = torch.tensor([flag and at > 0 for example in chosen for at, flag in enumerate(example.labelled)])
    columns = labelled.nonzero().flatten()
    owners = torch.repeat_interleave(torch.tensor(lengths))[columns]
    return ids[None], positions[None], None, (torch.zeros_like(columns), columns - 1), ids[columns], owners


def _padded(chosen: Sequence[Example], lengths: Sequence[int]) -> _Tensors:
    longest = max(lengths)
    ids = torch.zeros(len(chosen), longest, dtype=torch.long)
    labelled = torch.zeros(len(chosen), longest, dtype=torch.bool)
    mask = torch.zeros(len(chosen), longest, dtype=torch.long)
    for row, (example, length) in enumerate(zip(chosen, lengths, strict=True)):
        ids[row, :length] = torch.tensor(example.input_ids)
        labelled[row, :length] = torch.tensor(example.labelled)
        mask[row, :length] = 1
    labelled[:, 0] = False
    rows, columns = labelled.nonzero(as_tuple=True)
    positions = torch.arange(longest).expand(len(chosen), -1)
    return ids, positions, mask, (rows, columns - 1), ids[rows, columns], rows
