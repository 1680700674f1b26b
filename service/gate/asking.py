"""Rows of checks: how one begins and how one ends, within the transaction of whoever asks."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from pydantic import JsonValue
from sqlalchemy.orm import Session

from evaluation.gate.policy import Policy
from service.gate.gate import CheckRun, CheckStatus, GateCheck
from service.gate.tables import GateCheckRow, GateRow

MAX_ACTOR_CHARS = 128


def ask(
    session: Session, gate: GateRow, candidate: int, at: datetime, *, actor: str, job_id: str | None = None
) -> GateCheckRow:
    """Puts a version before a gate; a server begins as soon as it looks."""
    row = GateCheckRow(
        id=f"gate-{secrets.token_hex(12)}",
        tenant=gate.tenant,
        adapter=gate.adapter,
        alias=gate.alias,
        policy=gate.policy,
        candidate=candidate,
        status="waiting",
        models={},
        runs=[],
        actor=actor[:MAX_ACTOR_CHARS],
        job_id=job_id,
        created_at=at,
    )
    session.add(row)
    session.flush()
    return row


def end(
    row: GateCheckRow, status: CheckStatus, reason: str, at: datetime, findings: Sequence[JsonValue] | None = None
) -> None:
    """Ends a check for good."""
    row.status, row.reason, row.finished_at = status, reason, at
    row.findings = None if findings is None else list(findings)


def check_of(row: GateCheckRow) -> GateCheck:
    """What a row says."""
    runs = cast(list[dict[str, Any]], row.runs)
    return GateCheck(
        id=row.id,
        tenant=row.tenant,
        adapter=row.adapter,
        alias=row.alias,
        policy=Policy.of(row.policy),
        candidate=row.candidate,
        status=cast(CheckStatus, row.status),
        expected=row.expected,
        models=cast(dict[str, int], row.models),
        runs=[CheckRun(suite=run["suite"], run_id=run["run_id"]) for run in runs],
        reason=row.reason,
        findings=row.findings,
        actor=row.actor,
        job_id=row.job_id,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
