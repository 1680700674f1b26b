"""`/v1/fine_tuning`: OpenAI's objects, with what lorad adds to them."""

import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, JsonValue

from service.api.schemas.evaluate import finite
from service.api.schemas.schema import Reply
from service.api.schemas.times import unix
from service.jobs.job import Job, JobCheckpoint, JobEvent, JobStatus
from service.jobs.request import JobRequest
from service.page import Page


class JobFailure(Reply):
    """Why a job has failed."""

    code: str
    message: str
    param: str | None


class JobProgress(Reply):
    """How far a run is."""

    step: int
    total_steps: int
    eta_seconds: int | None
    """null where it is unknown."""


class JobReply(Reply):
    """OpenAI's job object; `lora`, `suffix`, `gate`, `priority`, `progress` and the like are lorad's own."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    """Unix time, as all times here."""
    started_at: int | None
    finished_at: int | None
    status: JobStatus
    model: str
    fine_tuned_model: str | None
    """The pinned `name:N`, once the job has succeeded."""
    organization_id: str
    """The tenant."""
    training_file: str
    training_files: list[dict[str, JsonValue]] | None
    """Where several files are mixed: each with its weight."""
    validation_file: str | None
    result_files: list[str] = Field(default_factory=list)
    """Always empty: metrics are events and checkpoints."""
    hyperparameters: dict[str, JsonValue]
    method: dict[str, JsonValue]
    lora: dict[str, JsonValue]
    """Training settings, as they were sent."""
    suffix: str | None
    gate: str | None
    """The alias whose gate the finished adapter is put before."""
    seed: int
    priority: int
    metadata: dict[str, str] | None
    integrations: None = None
    trained_tokens: int | None
    error: JobFailure | None
    estimated_finish: int | None
    queue_position: int | None
    """1 is next; null where the job does not wait."""
    progress: JobProgress | None
    """null until the job has run."""

    @classmethod
    def of(cls, job: Job, position: int | None) -> "JobReply":
        """Of a job and its place in the queue."""
        asked = job.request
        hyperparameters = asked.asked_hyperparameters.model_dump(mode="json")
        mixed = asked.training_files
        return cls(
            id=job.id,
            created_at=unix(job.created_at),
            started_at=job.started_at and unix(job.started_at),
            finished_at=job.finished_at and unix(job.finished_at),
            status=job.status,
            model=asked.model,
            fine_tuned_model=job.fine_tuned_model,
            organization_id=job.tenant,
            training_file=asked.training[0].file,
            training_files=None if mixed is None else [each.model_dump() for each in mixed],
            validation_file=asked.validation_file,
            hyperparameters=hyperparameters,
            method=_method(asked, hyperparameters),
            lora=asked.lora.model_dump(mode="json", exclude_unset=True),
            suffix=asked.suffix,
            gate=asked.gate,
            seed=asked.seed or 0,
            priority=asked.priority,
            metadata=asked.metadata,
            trained_tokens=job.trained_tokens,
            error=None if job.error is None else JobFailure(**asdict(job.error)),
            estimated_finish=job.estimated_finish and unix(job.estimated_finish),
            queue_position=position,
            progress=_progress(job),
        )


class JobList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[JobReply]
    has_more: bool


class EventReply(Reply):
    """OpenAI's event object."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None
    """Of metrics: the step and its figures."""

    @classmethod
    def of(cls, event: JobEvent) -> "EventReply":
        """Of an event."""
        return cls(
            id=event.id,
            created_at=unix(event.created_at),
            level=event.level,
            message=event.message,
            type=event.type,
            data=event.data,
        )


class EventList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[EventReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[JobEvent]) -> "EventList":
        """Of a page."""
        return cls(data=[EventReply.of(event) for event in page.data], has_more=page.has_more)


class CheckpointReply(Reply):
    """OpenAI's checkpoint object."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str | None
    """`name:ckpt-step-N`: requests may name it as their model, also while the job runs; null once a newer job's
    checkpoints have the name."""
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float | None]


class CheckpointList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[CheckpointReply]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, job: Job, page: Page[JobCheckpoint], answering: Collection[int]) -> "CheckpointList":
        """Of a page of a job's checkpoints, and the steps of those that answer requests."""
        data = [checkpoint_reply(job, checkpoint, answering) for checkpoint in page.data]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=page.has_more, first_id=first, last_id=last)


def _method(asked: JobRequest, hyperparameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    kind = "supervised" if asked.method is None else asked.method.type
    return {"type": kind, kind: {"hyperparameters": hyperparameters}}


def _progress(job: Job) -> JobProgress | None:
    if job.total_steps is None:
        return None
    finish = job.estimated_finish if job.status == "running" else None
    eta = None if finish is None else max(0, unix(finish) - int(time.time()))
    return JobProgress(step=job.step, total_steps=job.total_steps, eta_seconds=eta)


def checkpoint_reply(job: Job, checkpoint: JobCheckpoint, answering: Collection[int]) -> CheckpointReply:
    """Of a checkpoint, the job that made it, and the steps of those that answer requests."""
    model = f"{job.name}:ckpt-step-{checkpoint.step}" if checkpoint.step in answering else None
    return CheckpointReply(
        id=checkpoint.id,
        created_at=unix(checkpoint.created_at),
        fine_tuned_model_checkpoint=model,
        fine_tuning_job_id=job.id,
        step_number=checkpoint.step,
        metrics={name: finite(value) for name, value in checkpoint.metrics.items()},
    )
