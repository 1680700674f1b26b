"""How long a run will take, from passes of its own that are measured before the first step and thrown away."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from base.loader import LoadedBase
from training.config import TrainingConfig
from training.layers.network import Network
from training.objectives.creation import create_objective
from training.optimization.optimizer import create_optimizer
from training.optimization.step import accumulate, update
from training.rows.batches import Batch, make_batch
from training.rows.examples import Prepared
from training.rows.order import Schedule, passes
from training.run import TrainingData

_SAMPLED_STEPS = 64
"""Whose passes stand for those of all steps: a long run's rows are counted in no time."""
_FEW_TOKENS = 1.5
"""A longest pass of less than so many times the shortest one says nothing about what a pass costs beside its tokens."""


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """What a run is expected to take."""

    steps_seconds: float
    """Of all optimizer steps together: what a result calls `seconds`."""
    evaluation_seconds: float
    """Of all evaluations together, the base's own included."""
    tokens_per_second: float
    """Trained, while a step is under way."""

    @property
    def seconds(self) -> float:
        """The whole, from the first step to the last."""
        return self.steps_seconds + self.evaluation_seconds


def schedule_of(config: TrainingConfig, data: Prepared) -> Schedule:
    """The steps of a run over `data`."""
    return Schedule(
        parts=data.parts,
        batch_size=config.batch_size,
        accumulation=config.gradient_accumulation,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )


def probe(base: LoadedBase, config: TrainingConfig, data: TrainingData) -> RunTime:
    """Measure a short and a long pass forward and backward, an update, and a long pass forward.

    An adapter of its own is trained for it and dropped; weights and random numbers are as before, so that the run
    afterwards is the same to the bit. PiSSA and OLoRA are timed as plain LoRA: their decomposition would take longer
    than all the rest, and their steps take about as long.

    Raises:
        ConfigError: see `Network` and `create_optimizer`.
    """
    schedule = schedule_of(config, data.train)
    every = max(1, schedule.total_steps // _SAMPLED_STEPS)
    sampled = [
        divided
        for step in range(0, schedule.total_steps, every)
        for divided in passes(data.train.examples, schedule.step_rows(step), config, data.train.rejected)
    ]
    sizes = [_num_tokens(data.train, rows) for rows in sampled]
    num_steps = len(range(0, schedule.total_steps, every))
    fixed, each, updating, forward = _measure(base, config, data.train, sampled, sizes)
    steps = (fixed * len(sizes) + each * sum(sizes)) / num_steps * schedule.total_steps
    steps += updating * schedule.total_steps
    evaluations = 1 + math.ceil(schedule.total_steps / (config.eval_every or schedule.steps_per_epoch))
    return RunTime(
        steps_seconds=steps,
        evaluation_seconds=0.0 if data.valid is None else evaluations * forward * data.valid.num_tokens,
        tokens_per_second=sum(sizes) / num_steps * schedule.total_steps / steps,
    )


def _measure(
    base: LoadedBase, config: TrainingConfig, rows: Prepared, sampled: Sequence[list[int]], sizes: Sequence[int]
) -> tuple[float, float, float, float]:
    """Seconds of a pass, and of each of its tokens; of an update; of a token forward only."""
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    short, long = (
        make_batch(rows.examples, sampled[at], config.layout, base.device, rows.rejected)
        for at in (by_size[0], by_size[-1])
    )
    objective = create_objective(config)
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        network = Network(base.model, config.model_copy(update={"init": "default"}))
        try:
            optimizer = create_optimizer(network.parameters(), config, base.device)

            def train(batch: Batch) -> None:
                accumulate(network, objective, [batch], config.max_grad_norm)

            def evaluate() -> None:
                with torch.no_grad():
                    objective.total(network, long).item()

            base.model.train()
            train(short)  # The first of each kind also allocates, and is not counted.
            update(optimizer, config.learning_rate)
            of_short = _seconds(lambda: train(short))
            of_update = _seconds(lambda: update(optimizer, config.learning_rate))
            of_long = _seconds(lambda: train(long))
            base.model.eval()
            of_forward = _seconds(evaluate)
        finally:
            network.close()
    each, fixed = of_long / long.num_tokens, 0.0
    if long.num_tokens >= _FEW_TOKENS * short.num_tokens:
        slope = (of_long - of_short) / (long.num_tokens - short.num_tokens)
        # Another process may have slowed one of the two: nothing is cheaper than nothing.
        each = min(max(slope, 0.0), each)
        fixed = of_long - each * long.num_tokens
    return fixed, each, of_update, of_forward / long.num_tokens


def _num_tokens(data: Prepared, rows: Sequence[int]) -> int:
    return sum(len(side[row].input_ids) for side in (data.examples, data.rejected) if side for row in rows)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
