"""`/v1/adapters/{name}/gates`: policies on aliases, and the candidates that came before them."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from service.api.schemas.adapter_life import Number
from service.api.schemas.schema import Reply, Schema
from service.gate.gate import CheckStatus, Gate, GateCheck
from service.gate.shown import check_to_json, gate_to_json
from service.page import Page

SuiteName = Annotated[str, Field(min_length=1, max_length=64)]


class GateBody(Schema):
    """When the alias may move."""

    policy: Annotated[str, Field(min_length=1, max_length=4096)] | dict[str, JsonValue]
    """`promote to prod if exact_match >= prod and no suite drops > 1 point`, or the same as an object."""
    suites: Annotated[list[SuiteName], Field(max_length=16)] = Field(default_factory=list)
    """Run beside those that the policy names."""


class RunGateBody(Schema):
    """Who comes before the gate."""

    version: Number | None = None
    """Default: the newest ready one."""


class GateReply(Reply):
    """A policy on an alias."""

    object: Literal["gate"] = "gate"
    adapter: str
    alias: str
    policy: str
    """As text."""
    definition: dict[str, Any]
    """The same as an object."""
    suites: list[str]
    """That are run."""
    set_by: str
    updated_at: int
    """Unix time, as all times here."""

    @classmethod
    def of(cls, gate: Gate) -> "GateReply":
        """Of a gate."""
        return cls.model_validate(gate_to_json(gate))


class GateList(Reply):
    """By alias."""

    object: Literal["list"] = "list"
    data: list[GateReply]


class GateDeleted(Reply):
    """The gate is gone; the alias and its history stay."""

    id: str
    """`name@alias`."""
    object: Literal["gate"] = "gate"
    deleted: bool = True


class GateCheckReply(Reply):
    """A candidate before a gate."""

    id: str
    object: Literal["gate.check"] = "gate.check"
    adapter: str
    alias: str
    policy: str
    """As it was when the check was asked for."""
    candidate: str
    """The pinned `name:N`."""
    before: str | None
    """Where the alias pointed when the evaluations began; null before that, and where it did not exist."""
    status: CheckStatus
    """`failed`: nothing could be decided, and the alias stays where it is."""
    evaluations: dict[str, str]
    """The id of each suite's evaluation."""
    reason: str | None
    """Why it ended as it did, with the numbers."""
    findings: list[dict[str, Any]] | None
    """Each condition on each metric and suite, with values, interval and verdict."""
    asked_by: str
    job_id: str | None
    created_at: int
    finished_at: int | None

    @classmethod
    def of(cls, check: GateCheck) -> "GateCheckReply":
        """Of a check."""
        return cls.model_validate(check_to_json(check))


class GateCheckList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[GateCheckReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[GateCheck]) -> "GateCheckList":
        """Of a page."""
        return cls(data=[GateCheckReply.of(check) for check in page.data], has_more=page.has_more)
