"""Errors of the training package.

TrainingError
├── ConfigError         a setting is out of range, or names a module that the base does not have
├── NoTrainingRowsError no row is left to train on
├── DivergedError       the loss or a gradient became NaN or infinite
├── DeviceError         the device ran out of memory or failed in a step
├── CheckpointError     a checkpoint is damaged, or belongs to another run
├── OutputError         the finished adapter cannot be written
└── Stopped             the run was asked to stop; its checkpoint can be resumed
"""

from pathlib import Path


class TrainingError(Exception):
    """Root of every error that this package raises for a user to read."""


class ConfigError(TrainingError):
    """A training setting cannot be used with this base."""


class NoTrainingRowsError(TrainingError):
    """Every row was refused, or none was given."""


class DivergedError(TrainingError):
    """The loss or a gradient is no longer a finite number."""


class DeviceError(TrainingError):
    """The device ran out of memory or failed in a step."""

    def __init__(self, step: int, error: Exception, left: str) -> None:
        reason = str(error).strip().splitlines()[0][:300]
        super().__init__(
            f"step {step}: the device failed: {reason}; {left}: go on with --resume, where memory was short with a "
            "smaller --pack-tokens, --activation-checkpointing, or another run with --quantization nf4"
        )


class CheckpointError(TrainingError):
    """A checkpoint cannot be written or resumed."""


class OutputError(TrainingError):
    """The finished adapter cannot be written."""


class Stopped(TrainingError):
    """The run ended early because it was asked to; `checkpoint` continues it."""

    interrupted = False
    """Whether a person stopped it at the keyboard, rather than a supervisor."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step}; continue with --resume (checkpoint {checkpoint})")
        self.step = step
        self.checkpoint = checkpoint
