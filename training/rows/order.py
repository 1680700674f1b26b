"""Which rows an optimizer step takes, and how they are divided into passes."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from base.rendering import Example
from training.config import TrainingConfig
from training.rows.packing import pack
from training.rows.parts import Part

BUCKET_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which rows each optimizer step takes: a seeded draw and shuffle an epoch, a pure function of the step.

    A resumed run needs no more than the step's number to go on with the same rows.
    """

    parts: tuple[Part, ...]
    """Rows are counted through, part after part."""
    batch_size: int
    accumulation: int
    epochs: float
    max_steps: int | None
    seed: int
    lengths: tuple[int, ...] | None = None
    """Tokens of each row: steps then take rows of like length out of `BUCKET_STEPS` steps' rows at a time."""

    @property
    def rows_per_epoch(self) -> int:
        """As many in every epoch."""
        return sum(part.num_drawn for part in self.parts)

    @property
    def rows_per_step(self) -> int:
        """Over all passes; what a step weighs does not depend on how it is divided."""
        return self.batch_size * self.accumulation

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that take an epoch's rows; the last may be smaller."""
        return math.ceil(self.rows_per_epoch / self.rows_per_step)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = max(1, round(self.epochs * self.steps_per_epoch))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def step_rows(self, step: int) -> list[int]:
        """The rows of optimizer step `step` (from 0), of all its passes together."""
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.rows_per_step
        return list(_epoch_order(self, epoch)[start : start + self.rows_per_step])


@functools.lru_cache(maxsize=1)
def _epoch_order(schedule: Schedule, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed((schedule.seed << 16) + epoch)
    order = _drawn(schedule.parts, generator)
    return order if schedule.lengths is None else _bucketed(order, schedule.lengths, schedule.rows_per_step, generator)


def _drawn(parts: Sequence[Part], generator: torch.Generator) -> list[int]:
    """The rows of one epoch, shuffled; where a weight is not whole, a share of the part that the generator chooses."""
    drawn: list[int] = []
    start = 0
    for part in parts:
        times, rest = divmod(part.num_drawn, part.num_rows)
        drawn += [*range(start, start + part.num_rows)] * times
        if rest:
            drawn += (torch.randperm(part.num_rows, generator=generator)[:rest] + start).tolist()
        start += part.num_rows
    return [drawn[at] for at in torch.randperm(len(drawn), generator=generator).tolist()]


def _bucketed(order: list[int], lengths: Sequence[int], rows_per_step: int, generator: torch.Generator) -> list[int]:
    """`order` with rows of like length in a step: each window of it sorted, then its steps shuffled.

    As transformers' LengthGroupedSampler does; the step that is smaller than the others stays the last.
    """
    window = BUCKET_STEPS * rows_per_step
    alike = [sorted(order[at : at + window], key=lambda row: -lengths[row]) for at in range(0, len(order), window)]
    joined = [row for rows in alike for row in rows]
    whole = len(joined) // rows_per_step
    shuffled = torch.randperm(whole, generator=generator).tolist()
    rows = [row for step in shuffled for row in joined[step * rows_per_step : (step + 1) * rows_per_step]]
    return rows + joined[whole * rows_per_step :]


def lengths_of(examples: Sequence[Example], rejected: Sequence[Example] = ()) -> tuple[int, ...]:
    """Tokens of each row; a pair counts with both its answers."""
    pairs = zip(examples, rejected, strict=True) if rejected else ((row,) for row in examples)
    return tuple(sum(len(side.input_ids) for side in pair) for pair in pairs)


def passes(
    examples: Sequence[Example], rows: Sequence[int], config: TrainingConfig, rejected: Sequence[Example] = ()
) -> list[list[int]]:
    """`rows` divided into passes: packs of `pack_tokens`, or `batch_size` rows of like length side by side.

    A pair counts with both its rows, which stay in one pass.
    """
    lengths = lengths_of([examples[row] for row in rows], [rejected[row] for row in rows] if rejected else ())
    if config.layout == "packed":
        return [[rows[item] for item in items] for items in pack(lengths, config.pack_tokens)]
    order = sorted(range(len(rows)), key=lambda item: (lengths[item], item))
    batches = (order[at : at + config.batch_size] for at in range(0, len(order), config.batch_size))
    return [[rows[item] for item in items] for items in batches]
