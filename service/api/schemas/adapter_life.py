"""What happens to the versions of an adapter: promotion, tags, pins, retention, history, lineage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from adapters.aliases import Move
from adapters.lineage import Ancestor, Lineage
from adapters.retention import MAX_KEEP
from adapters.tags import MAX_VALUE_CHARS
from adapters.version import Event, Version
from service.api.residency.places import Places
from service.api.schemas.adapters import Reason, VersionReply
from service.api.schemas.evaluate import finite
from service.api.schemas.schema import Reply, Schema
from service.evaluation.versions import VersionEvaluation

Number = Annotated[int, Field(ge=1, le=999_999_999)]
Keep = Annotated[int, Field(ge=1, le=MAX_KEEP)]


class MoveBody(Schema):
    """One alias and where it is to point."""

    alias: str = Field(min_length=1, max_length=64)
    version: Number
    expected: int | None = Field(default=None, ge=0, le=999_999_999)
    """Move it only if it points to this version now; 0: only if it does not exist. Default: wherever it points."""

    @property
    def move(self) -> Move:
        """For the registry."""
        return Move(alias=self.alias, number=self.version, expected=self.expected)


class PromoteBody(Schema):
    """Aliases that move together, or not at all."""

    moves: list[MoveBody] = Field(min_length=1, max_length=64)
    reason: Reason = ""
    """Kept in the adapter's history."""


class TagBody(Schema):
    """What a tag says."""

    value: str = Field(default="", max_length=MAX_VALUE_CHARS)
    """Empty for a mere label."""
    reason: Reason = ""


class PinBody(Schema):
    """Which version is to stay loaded."""

    version: Number | None = None
    """Default: the newest ready one, now; a later version does not take its place."""
    reason: Reason = ""


class RetentionBody(Schema):
    """How many versions of one adapter are kept."""

    keep: Keep | None
    """Null: as the server's settings say."""
    reason: Reason = ""


class PruneBody(Schema):
    """What is to go."""

    keep: Keep | None = None
    """Newest versions to keep, this once. Default: the adapter's own number, else the server's; without both, all."""
    checkpoints: bool = False
    """Delete its checkpoints too."""
    dry_run: bool = False
    """Only say what would go."""
    reason: Reason = ""


class Pruned(Reply):
    """What went, or would go."""

    object: Literal["adapter.pruned"] = "adapter.pruned"
    dry_run: bool
    deleted: list[str]
    """`name:N`, newest first, then `name:ckpt-step-N`."""


class Unpinned(Reply):
    """What is loaded at the start no more."""

    object: Literal["list"] = "list"
    unpinned: list[str]
    """The `name:N` of each."""


class EventReply(Reply):
    """Something that happened to an adapter."""

    id: int
    object: Literal["adapter.event"] = "adapter.event"
    kind: str
    """publish, remove, prune, checkpoints, set, rollback, delete (of aliases), tag, untag, pin, unpin, keep."""
    at: datetime
    actor: str
    """Tenant, user of the command line, or `retention`."""
    reason: str
    alias: str | None
    from_number: int | None
    """Where the alias pointed before."""
    number: int | None
    """The version concerned; of an alias, where it points since."""
    job_id: str | None
    details: dict[str, JsonValue]
    """Of a publication: digest, data digest, metrics; of tags: which."""

    @classmethod
    def of(cls, event: Event) -> "EventReply":
        """Of an event."""
        return cls.model_validate(vars(event))


class History(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[EventReply]
    has_more: bool
    """Whether there are older ones; the last id is the `before` of the next page."""


class AncestorReply(Reply):
    """What training began with."""

    name: str
    """As it was named then."""
    digest: str
    id: str | None
    """The `name:N` that has this content now; null: it was deleted, or came from elsewhere."""
    job_id: str | None
    data_digest: str | None

    @classmethod
    def of(cls, ancestor: Ancestor) -> "AncestorReply":
        """Of an ancestor, known or not."""
        known = ancestor.version
        return cls(
            name=ancestor.name,
            digest=ancestor.digest,
            id=None if known is None else str(known.reference),
            job_id=None if known is None else known.job_id,
            data_digest=None if known is None else known.data_digest,
        )


class VersionEvaluationReply(Reply):
    """What one evaluation found of a version."""

    evaluation: str
    """Its id."""
    suite: str | None
    """null: its cases have no name."""
    suite_digest: str
    num_cases: int
    finished_at: datetime
    metrics: dict[str, float | None]

    @classmethod
    def of(cls, found: VersionEvaluation) -> "VersionEvaluationReply":
        """Of what was measured."""
        return cls(
            evaluation=found.run_id,
            suite=found.suite,
            suite_digest=found.suite_digest,
            num_cases=found.num_cases,
            finished_at=found.finished_at,
            metrics={name: finite(value) for name, value in found.metrics.items()},
        )


class LineageReply(Reply):
    """Where a version comes from."""

    object: Literal["adapter.lineage"] = "adapter.lineage"
    id: str
    digest: str
    base_digest: str
    data_digest: str | None
    data: list[dict[str, JsonValue]]
    """Each file with its digest and weight, as far as it was told."""
    job_id: str | None
    ancestors: list[AncestorReply]
    """The version that training began with, then the one before that."""
    evaluations: list[VersionEvaluationReply]
    """The newest ones that it was in."""

    @classmethod
    def of(cls, lineage: Lineage, evaluations: Sequence[VersionEvaluation]) -> "LineageReply":
        """Of what the registry knows, and what was measured."""
        version = lineage.version
        return cls(
            id=str(version.reference),
            digest=version.digest,
            base_digest=version.base_digest,
            data_digest=version.data_digest,
            data=[dict(file) for file in lineage.data],
            job_id=version.job_id,
            ancestors=[AncestorReply.of(ancestor) for ancestor in lineage.ancestors],
            evaluations=[VersionEvaluationReply.of(found) for found in evaluations],
        )


class Promoted(Reply):
    """Where the aliases point now, in the order of the moves."""

    object: Literal["list"] = "list"
    data: list[VersionReply]

    @classmethod
    def of(cls, versions: list[Version], places: Places) -> "Promoted":
        """Of versions and where they are."""
        return cls(data=[VersionReply.of(version, places[version]) for version in versions])
