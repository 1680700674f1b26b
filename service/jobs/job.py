"""Jobs as their owners see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from service.jobs.request import JobRequest

JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
Level = Literal["info", "warn", "error"]
EventType = Literal["message", "metrics"]

ENDED = ("succeeded", "failed", "cancelled")
CLAIMED = ("validating_files", "running")
"""A worker has it, and looks at the rows before the first step, or trains."""


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job has failed."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One finetuning run."""

    id: str
    """`ftjob-` and 24 hexadecimal digits."""
    tenant: str
    status: JobStatus
    request: JobRequest
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: int
    total_steps: int | None
    """None until the run has begun."""
    trained_tokens: int | None
    estimated_finish: datetime | None
    fine_tuned_model: str | None
    """The pinned `name:N`, once the job has succeeded."""
    error: JobError | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in ENDED

    @property
    def name(self) -> str:
        """The adapter's."""
        return self.request.suffix or self.id


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job."""

    number: int
    """Rises with time, over all jobs."""
    created_at: datetime
    level: Level
    type: EventType
    message: str
    data: dict[str, JsonValue] | None

    @property
    def id(self) -> str:
        """How lists and streams name it."""
        return f"ftevent-{self.number}"


@dataclass(frozen=True, kw_only=True)
class JobCheckpoint:
    """A state of the run that can be prompted."""

    id: str
    """`ftckpt_` and 24 hexadecimal digits."""
    job_id: str
    step: int
    created_at: datetime
    metrics: Mapping[str, float | None]
    """OpenAI's names: train_loss, valid_loss, full_valid_loss, …"""


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event that is about to be written."""

    message: str
    level: Level = "info"
    type: EventType = "message"
    data: dict[str, JsonValue] | None = None
