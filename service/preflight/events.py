"""What the preflight tells of a run that begins."""

from dataclasses import dataclass

from training.events import Event


@dataclass(frozen=True, kw_only=True)
class AutoEvent(Event):
    """A setting was left open, and this was taken."""

    name = "auto"
    setting: str
    value: float | int
    reason: str


@dataclass(frozen=True, kw_only=True)
class TimeEvent(Event):
    """The run's length, from a measured pass."""

    name = "time"
    seconds: float
    """From the first step to the last, evaluations included."""
    steps_seconds: float
    evaluation_seconds: float
    tokens_per_second: float
    ends_at: str
    """ISO 8601, UTC."""
