"""Token rows to tensors, packed end to end or padded side by side, and the order in which they come.

Shape legend: R rows in a batch, T tokens across, L labelled positions.
"""

import math
from collections.abc import Iterator, Sequence
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
    predictors: tuple[Tensor, Tensor]
    """Row and column, [L] each, of the positions whose next token is labelled."""
    targets_L: Tensor
    """The labelled tokens."""
    num_tokens: int
    """Without padding."""
    rows: tuple[int, ...]
    """Which of the training rows these are, for messages."""

    @property
    def num_labelled(self) -> int:
        """The tokens that count in the loss."""
        return int(self.targets_L.shape[0])


def make_batch(examples: Sequence[Example], rows: Sequence[int], layout: Layout, device: torch.device) -> Batch:
    """The batch of `examples[row]` for `row` in `rows`."""
    chosen = [examples[row] for row in rows]
    lengths = [len(example.input_ids) for example in chosen]
    build = _packed if layout == "packed" else _padded
    ids, positions, mask, predictors, targets = build(chosen, lengths)
    return Batch(
        input_ids_RT=ids.to(device),
        position_ids_RT=positions.to(device),
        attention_mask_RT=None if mask is None else mask.to(device),
        predictors=(predictors[0].to(device), predictors[1].to(device)),
        targets_L=targets.to(device),
        num_tokens=sum(lengths),
        rows=tuple(rows),
    )


_Tensors = tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, Tensor], Tensor]


def _packed(chosen: Sequence[Example], lengths: Sequence[int]) -> _Tensors:
    ids = torch.tensor([token for example in chosen for token in example.input_ids])
    positions = torch.cat([torch.arange(length) for length in lengths])
    # The first token of a row is predicted by nothing: the position before it belongs to another row.
    labelled = torch.tensor([flag and at > 0 for example in chosen for at, flag in enumerate(example.labelled)])
    columns = labelled.nonzero().flatten()
    return ids[None], positions[None], None, (torch.zeros_like(columns), columns - 1), ids[columns]


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
    return ids, positions, mask, (rows, columns - 1), ids[rows, columns]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which rows each optimizer step takes: a seeded shuffle an epoch, a pure function of the step.

    A resumed run needs no more than the step's number to go on with the same rows.
    """

    num_rows: int
    batch_size: int
    accumulation: int
    epochs: float
    max_steps: int | None
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that see every row once; the last may be smaller."""
        return math.ceil(self.num_rows / (self.batch_size * self.accumulation))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = max(1, round(self.epochs * self.steps_per_epoch))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def step_rows(self, step: int) -> list[list[int]]:
        """The rows of each pass of optimizer step `step` (from 0)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.batch_size * self.accumulation
        rows = self._order(epoch)[start : start + self.batch_size * self.accumulation]
        return [rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size)]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((self.seed << 16) + epoch)
        order: list[int] = torch.randperm(self.num_rows, generator=generator).tolist()
        return order


def in_length_order(examples: Sequence[Example], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of like length, for evaluation, where order does not matter and padding costs."""
    order = sorted(range(len(examples)), key=lambda row: len(examples[row].input_ids))
    for at in range(0, len(order), batch_size):
        yield order[at : at + batch_size]
