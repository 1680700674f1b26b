"""From a trainer's folder to a version that answers requests."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from adapters.base_facts import BaseFacts
from adapters.errors import SupersededJobError
from adapters.publication import Submission
from adapters.registry import Registry
from adapters.version import Change
from service.jobs.job import Job
from service.registry.publication import base_facts, publish_bounded, publish_step
from service.settings import Settings

_ACTOR = "finetuning"
Guard = Callable[[Session], None]
"""Raises where whoever publishes may not any more."""


class Publisher:
    """Publishes what jobs have learnt; again for the same job and step, it changes nothing."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._facts: BaseFacts | None = None

    def publish(self, job: Job, output: Path, metrics: dict[str, float], guard: Guard) -> str:
        """The finished adapter as the next version of the job's name; gives the pinned `name:N`.

        Args:
            job: which has ended well.
            output: the trainer's folder.
            metrics: of the training.
            guard: see `Submission.guard`.

        Raises:
            AdapterError: it cannot be published here.
            StorageError: the store or the database is away.
        """
        submission = self._submission(job, output, metrics, guard)
        version = publish_bounded(self._registry, submission, self._base(), self._settings)
        return str(version.reference)

    def publish_checkpoint(self, job: Job, folder: Path, step: int, guard: Guard) -> bool:
        """A checkpoint as `name:ckpt-step-N`; False where a newer job's checkpoints have the name.

        Args:
            job: which is running.
            folder: of the checkpoint.
            step: optimiser steps so far.
            guard: see `Submission.guard`.

        Raises:
            AdapterError: it cannot be published here.
            StorageError: the store or the database is away.
        """
        try:
            submission = self._submission(job, folder, {}, guard)
            publish_step(self._registry, submission, self._base(), self._settings, step)
        except SupersededJobError:
            return False
        return True

    def _base(self) -> BaseFacts:
        if self._facts is None:
            self._facts = base_facts(self._settings.base_model, self._settings)
        return self._facts

    def _submission(self, job: Job, folder: Path, metrics: dict[str, float], guard: Guard) -> Submission:
        return Submission(
            tenant=job.tenant,
            name=job.name,
            folder=folder,
            source="job",
            metrics=metrics,
            lineage={"job": job.id, "files": [file.file for file in job.request.training]},
            job_id=job.id,
            change=Change(actor=_ACTOR, reason=f"job {job.id}"),
            guard=guard,
        )
