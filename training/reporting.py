"""What a run says of itself: when it begins, and after each step."""

from base.loader import LoadedBase
from training.artifacts.checkpoint import Progress
from training.events import StartEvent, StepEvent
from training.layers.network import Network
from training.memory import peak_memory_bytes
from training.optimization.step import Outcome
from training.rows.order import Schedule
from training.run import TrainingData


def start_event(
    base: LoadedBase, network: Network, data: TrainingData, schedule: Schedule, *, first_step: int, base_parameters: int
) -> StartEvent:
    """How large the run is.

    Args:
        base: wrapped already.
        network: around it.
        data: of the run.
        schedule: of the run.
        first_step: steps done by earlier processes.
        base_parameters: of the base alone.
    """
    train, valid = data.train, data.valid
    return StartEvent(
        total_steps=schedule.total_steps,
        first_step=first_step,
        trainable_parameters=sum(parameter.numel() for parameter in network.parameters().values()),
        total_parameters=base_parameters,
        train_rows=len(train.examples),
        train_tokens=train.num_tokens,
        train_labelled_tokens=train.num_labelled,
        valid_rows=len(valid.examples) if valid else 0,
        truncated_rows=train.num_truncated,
        device=str(base.device),
        dtype=str(base.dtype).removeprefix("torch."),
        quantization=base.quantization,
    )


def step_event(
    base: LoadedBase, progress: Progress, outcome: Outcome, schedule: Schedule, learning_rate: float
) -> StepEvent:
    """What a step did; `progress` counts it already."""
    step, last = progress.step, schedule.total_steps
    return StepEvent(
        step=step,
        total_steps=last,
        epoch=step / schedule.steps_per_epoch,
        loss=progress.train_loss,
        learning_rate=learning_rate,
        grad_norm=outcome.grad_norm,
        tokens_per_second=progress.tokens_per_second,
        eta_seconds=progress.seconds / step * (last - step),
        peak_memory_bytes=peak_memory_bytes(base.device),
        figures=dict(outcome.figures),
    )
