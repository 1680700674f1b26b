"""Runs as their owners see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from evaluation.results import ModelResult
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings

RunStatus = Literal["queued", "running", "completed", "partial", "cancelled", "failed"]
Level = Literal["info", "warn", "error"]

ENDED: tuple[RunStatus, ...] = ("completed", "partial", "cancelled", "failed")


@dataclass(frozen=True, kw_only=True)
class SuiteIdentity:
    """Which cases were run."""

    name: str | None
    """None: the cases came with the request and have no name."""
    digest: str
    """`sha256:…` of the suite; runs of one digest had the same cases and can be compared."""
    num_cases: int


@dataclass(frozen=True, kw_only=True)
class RunModel:
    """One model of a run."""

    asked: str | None
    """As the request named it; None is the base."""
    model: str
    """What that meant when the run was made, and answers to the end: the pinned `name:N`, or the base's public name."""
    digest: str
    """Of the version, or of the base."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What a run is made of."""

    suite: SuiteIdentity
    models: tuple[RunModel, ...]
    scorers: tuple[ScorerSpec, ...]
    """Of the request; they stand in for the suite's own."""
    generation: GenerationSettings
    base_digest: str
    """Only a server of this base goes on with the run."""
    actor: str
    """On whose behalf it is."""
    judge: str | None = None
    """The model that judges, pinned, where a scorer asks for one; None: the operator's."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluation: models on a suite."""

    id: str
    """`eval-` and 24 hexadecimal digits."""
    tenant: str
    status: RunStatus
    """`partial`: it is through, and some cases have an error instead of a score; it can be resumed."""
    suite: SuiteIdentity
    models: tuple[RunModel, ...]
    scorers: tuple[ScorerSpec, ...]
    generation: GenerationSettings
    base_digest: str
    actor: str
    judge: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    done: int
    """Cases that are stored, over all models."""
    total: int
    error: str | None
    """Why it has failed, or what the first case without a score lacks."""
    results: tuple[ModelResult, ...] | None
    """In the order of `models`, once the run is through; in lists and compared with `Runs.results` without cases."""

    @property
    def ended(self) -> bool:
        """Whether nothing happens to it by itself any more."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class NewRunEvent:
    """An event that is about to be written."""

    message: str
    level: Level = "info"
    data: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """Something that happened to a run."""

    number: int
    """Rises with time, over all runs."""
    created_at: datetime
    level: Level
    message: str
    data: Mapping[str, JsonValue] | None
    """Of progress: `done` and `total`."""

    @property
    def id(self) -> str:
        """How lists and streams name it."""
        return f"evalevent-{self.number}"
