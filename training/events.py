"""What a run tells while it goes on: one frozen record an event, the same for the terminal, JSON lines and jobs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a run says."""

    name: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object with its kind under `event`."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class StartEvent(Event):
    """The run is about to take its first step."""

    name = "start"
    total_steps: int
    first_step: int
    """0, or where a resumed run goes on."""
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    train_tokens: int
    train_labelled_tokens: int
    valid_rows: int
    truncated_rows: int
    device: str
    dtype: str
    quantization: str


@dataclass(frozen=True, kw_only=True)
class StepEvent(Event):
    """An optimizer step is done."""

    name = "step"
    step: int
    """From 1."""
    total_steps: int
    epoch: float
    loss: float
    """Nats per labelled token of this step's rows."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens_per_second: float
    """Of this run so far, evaluations left out."""
    eta_seconds: float
    peak_memory_bytes: int
    figures: dict[str, float] = field(default_factory=dict)
    """What else the objective measures: rewards of preference pairs, under TRL's names."""


@dataclass(frozen=True, kw_only=True)
class EvalEvent(Event):
    """The held-out rows were scored."""

    name = "eval"
    step: int
    """0: the base, before any training."""
    valid_loss: float
    figures: dict[str, float] = field(default_factory=dict)
    """As of a step."""


@dataclass(frozen=True, kw_only=True)
class CheckpointEvent(Event):
    """A checkpoint is safely on disk."""

    name = "checkpoint"
    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class EarlyStopEvent(Event):
    """The held-out loss has not improved for long enough; the run ends."""

    name = "early_stop"
    step: int
    evaluations: int
    """Without an improvement."""
    best_step: int
    best_valid_loss: float


@dataclass(frozen=True, kw_only=True)
class WarningEvent(Event):
    """Something a person should know that does not end the run."""

    name = "warning"
    code: str
    message: str


Listener = Callable[[Event], None]
