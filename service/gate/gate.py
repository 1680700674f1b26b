"""Gates and their checks as their owners see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from evaluation.gate.policy import Policy

CheckStatus = Literal["waiting", "evaluating", "promoted", "refused", "failed"]
ENDED: tuple[CheckStatus, ...] = ("promoted", "refused", "failed")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A policy on an alias of an adapter, which need not exist yet."""

    tenant: str
    adapter: str
    alias: str
    policy: Policy
    actor: str
    """Who set it."""
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """One suite's evaluation."""

    suite: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class GateCheck:
    """A candidate before a gate."""

    id: str
    """`gate-` and 24 hexadecimal digits."""
    tenant: str
    adapter: str
    alias: str
    policy: Policy
    """As it was when the check was asked for."""
    candidate: int
    """The version that wants to be what the alias points to."""
    status: CheckStatus
    """`failed`: nothing could be decided."""
    expected: int | None
    """Where the alias pointed when the evaluations began, 0 if it did not exist; None before that."""
    models: Mapping[str, int]
    """Position of each of the policy's references among the evaluations' models; the candidate is at 0."""
    runs: Sequence[CheckRun]
    reason: str | None
    """Why it ended as it did, with the numbers."""
    findings: Sequence[JsonValue] | None
    """Of every condition, once it is decided."""
    actor: str
    """Who asked for it."""
    job_id: str | None
    """The job that made the candidate and asked."""
    created_at: datetime
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in ENDED
