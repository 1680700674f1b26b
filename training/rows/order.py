"""Which rows an optimizer step takes, and how they are divided into passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from base.rendering import Example
from training.config import TrainingConfig
from training.rows.packing import pack


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
    def rows_per_step(self) -> int:
        """Over all passes; what a step weighs does not depend on how it is divided."""
        return self.batch_size * self.accumulation

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that see every row once; the last may be smaller."""
        return math.ceil(self.num_rows / self.rows_per_step)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = max(1, round(self.epochs * self.steps_per_epoch))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def step_rows(self, step: int) -> list[int]:
        """The rows of optimizer step `step` (from 0), of all its passes together."""
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.rows_per_step
        return self._order(epoch)[start : start + self.rows_per_step]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((self.seed << 16) + epoch)
        order: list[int] = torch.randperm(self.num_rows, generator=generator).tolist()
        return order


def passes(
    examples: Sequence[Example], rows: Sequence[int], config: TrainingConfig, rejected: Sequence[Example] = ()
) -> list[list[int]]:
    """`rows` divided into passes: packs of `pack_tokens`, or `batch_size` rows of like length side by side.

    A pair counts with both its rows, which stay in one pass.
    """
    lengths = [sum(len(side[row].input_ids) for side in (examples, rejected) if side) for row in rows]
    if config.layout == "packed":
        return [[rows[item] for item in items] for items in pack(lengths, config.pack_tokens)]
    order = sorted(range(len(rows)), key=lambda item: (lengths[item], item))
    batches = (order[at : at + config.batch_size] for at in range(0, len(order), config.batch_size))
    return [[rows[item] for item in items] for items in batches]
