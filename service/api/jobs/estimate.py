"""What a job would cost: the preflight's figures, and the time that the tenant's last job took for a token."""

from typing import Any

from service.api.jobs.creation import check_request
from service.api.jobs.preflights import Looked, preflight_of
from service.api.schemas.estimate import AutoReply, EstimateReply, MemoryReply
from service.api.state import ServerState
from service.jobs.request import JobRequest

_RECENT = 50


def estimate_of(state: ServerState, tenant: str, body: JobRequest) -> EstimateReply:
    """Of a job that is not created. Takes seconds and the rows' memory.

    Raises:
        ApiError: 404, there is no such base or file; 400, a file as a whole cannot be used.
    """
    check_request(state, tenant, body)
    asked = body.config()
    looked = Looked(training=body.training, validation_file=body.validation_file, config=asked)
    told = preflight_of(state, tenant, looked)
    cost: dict[str, Any] = told["estimate"] or {}
    held_out = told["validation"] or {"findings": []}
    findings = [*told["train"]["findings"], *held_out["findings"], *told["findings"]]
    return EstimateReply(
        refused=told["refused"],
        **{name: cost.get(name) for name in ("tokens", "labelled_tokens", "steps", "steps_per_epoch", "adapter_bytes")},
        seconds=_seconds(state, tenant, cost.get("tokens")),
        memory=_memory(cost) if cost else None,
        auto=[AutoReply(**choice) for choice in told["choices"] if choice["name"] in asked.open_settings],
        findings=sorted(findings, key=lambda found: found["severity"] != "refusal"),
    )


def _memory(cost: dict[str, Any]) -> MemoryReply:
    remedies = [remedy["change"] for remedy in cost["remedies"]]
    return MemoryReply(
        needs_bytes=cost["needs_bytes"], free_bytes=cost["free_bytes"], fits=cost["fits"], remedies=remedies
    )


def _seconds(state: ServerState, tenant: str, tokens: int | None) -> float | None:
    """By the newest job that ended well: loading the base and publishing included, so short jobs look slower."""
    if tokens is None:
        return None
    for job in state.jobs.list(tenant, limit=_RECENT).data:
        if job.status == "succeeded" and job.started_at and job.finished_at and job.trained_tokens:
            taken_seconds = (job.finished_at - job.started_at).total_seconds()
            return tokens * taken_seconds / job.trained_tokens
    return None
