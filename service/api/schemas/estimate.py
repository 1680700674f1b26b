"""`/v1/fine_tuning/estimate`."""

from typing import Any, Literal

from service.api.schemas.schema import Reply


class AutoReply(Reply):
    """A setting left to lorad."""

    name: str
    """The training setting: `learning_rate`, `batch_size`, `epochs`."""
    value: float | int
    reason: str


class MemoryReply(Reply):
    """The run's peak against what is free."""

    needs_bytes: int
    free_bytes: int
    fits: bool
    remedies: list[str]
    """Where it does not fit: settings with which it would."""


class EstimateReply(Reply):
    """What a job would cost, as far as can be told without the base's weights."""

    object: Literal["fine_tuning.estimate"] = "fine_tuning.estimate"
    refused: bool
    """Whether the job would fail at once; `findings` says why."""
    tokens: int | None
    """Trained in the whole run; null where no row is usable, as below."""
    labelled_tokens: int | None
    steps: int | None
    steps_per_epoch: int | None
    seconds: float | None
    """null until a run was measured on this machine."""
    memory: MemoryReply | None
    adapter_bytes: int | None
    auto: list[AutoReply]
    """What is chosen for settings left to `auto`, and why."""
    findings: list[dict[str, Any]]
    """About rows and run; refusals first."""
