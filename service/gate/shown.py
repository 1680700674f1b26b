"""Gates and checks as routes and commands show them."""

from typing import Any

from evaluation.gate.text import to_text
from service.gate.gate import Gate, GateCheck


def gate_to_json(gate: Gate) -> dict[str, Any]:
    """A gate; times in Unix seconds."""
    return {
        "object": "gate",
        "adapter": gate.adapter,
        "alias": gate.alias,
        "policy": to_text(gate.policy),
        "definition": gate.policy.to_json(),
        "suites": list(gate.policy.all_suites),
        "set_by": gate.actor,
        "updated_at": int(gate.updated_at.timestamp()),
    }


def check_to_json(check: GateCheck) -> dict[str, Any]:
    """A check; times in Unix seconds."""
    return {
        "id": check.id,
        "object": "gate.check",
        "adapter": check.adapter,
        "alias": check.alias,
        "policy": to_text(check.policy),
        "candidate": f"{check.adapter}:{check.candidate}",
        "before": f"{check.adapter}:{check.expected}" if check.expected else None,
        "status": check.status,
        "evaluations": {run.suite: run.run_id for run in check.runs},
        "reason": check.reason,
        "findings": None if check.findings is None else list(check.findings),
        "asked_by": check.actor,
        "job_id": check.job_id,
        "created_at": int(check.created_at.timestamp()),
        "finished_at": None if check.finished_at is None else int(check.finished_at.timestamp()),
    }
