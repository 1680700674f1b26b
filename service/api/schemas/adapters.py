"""`/v1/adapters`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from adapters.version import Adapter, Version
from service.api.residency.places import Place, Places
from service.api.schemas.evaluate import finite
from service.api.schemas.schema import Reply, Schema
from service.engine.residency.residency import Placement

Reason = Annotated[str, Field(max_length=500)]


class AliasBody(Schema):
    """Where an alias is to point."""

    version: int = Field(ge=1, le=999_999_999)
    expected: int | None = Field(default=None, ge=0, le=999_999_999)
    """Move it only if it points to this version now; 0: only if it does not exist. Default: wherever it points."""
    reason: Reason = ""
    """Kept in the adapter's history."""


class RollbackBody(Schema):
    """Which alias is to go back."""

    alias: str = Field(min_length=1, max_length=64)
    reason: Reason = ""


class VersionReply(Reply):
    """One immutable version."""

    id: str
    """The pinned `name:N` or `name:ckpt-step-N`, as requests can name it."""
    object: Literal["adapter.version"] = "adapter.version"
    name: str
    number: int | None
    """Null: a checkpoint, which has a step instead."""
    checkpoint_step: int | None
    digest: str
    base_name: str
    base_digest: str
    rank: int
    size_bytes: int
    created_at: datetime
    source: str
    job_id: str | None
    """The finetuning job that made it."""
    data_digest: str | None
    """Of the rows it was trained on."""
    metrics: dict[str, float | None]
    lineage: dict[str, JsonValue]
    aliases: list[str]
    tags: dict[str, str]
    residency: Placement
    """The nearest place where it is: on the device, in host memory, or in the store only."""
    pinned: bool
    """Whether it was loaded to stay on the device, here or by a pin that every server honours."""

    @classmethod
    def of(cls, version: Version, place: Place) -> "VersionReply":
        """Of a version and where it is."""
        return cls(
            id=str(version.reference),
            name=version.name,
            number=version.number,
            checkpoint_step=version.checkpoint_step,
            digest=version.digest,
            base_name=version.base_name,
            base_digest=version.base_digest,
            rank=version.rank,
            size_bytes=version.size_bytes,
            created_at=version.created_at,
            source=version.source,
            job_id=version.job_id,
            data_digest=version.data_digest,
            metrics={name: finite(value) for name, value in version.metrics.items()},
            lineage=dict(version.lineage),
            aliases=list(version.aliases),
            tags=dict(version.tags),
            residency=place.residency,
            pinned=place.pinned or version.pinned,
        )


class PlacedVersion(Reply):
    """Where one version is."""

    number: int | None
    digest: str
    residency: Placement
    pinned: bool


class AdapterReply(Reply):
    """A name and what stands behind it."""

    id: str
    object: Literal["adapter"] = "adapter"
    name: str
    created_at: datetime
    num_versions: int
    latest: VersionReply
    """The newest ready version."""
    versions: list[PlacedVersion]
    """Newest first."""
    aliases: dict[str, int]
    keep_versions: int | None
    """How many of its newest versions retention keeps; null: as the server's settings say."""
    matches: list[int]
    """Numbers of the versions that fulfil the search, newest first; every one where nothing is searched for."""

    @classmethod
    def of(cls, adapter: Adapter, places: Places, matches: Sequence[Version] | None = None) -> "AdapterReply":
        """Of an adapter, where its versions are, and which of them fulfil a search."""
        matching = adapter.versions if matches is None else matches
        return cls(
            id=adapter.name,
            name=adapter.name,
            created_at=adapter.created_at,
            num_versions=adapter.num_versions,
            latest=VersionReply.of(adapter.latest, places[adapter.latest]),
            versions=[
                PlacedVersion(
                    number=version.number,
                    digest=version.digest,
                    residency=places[version].residency,
                    pinned=places[version].pinned or version.pinned,
                )
                for version in adapter.versions
            ],
            aliases=dict(adapter.aliases),
            keep_versions=adapter.keep_versions,
            matches=[version.number for version in matching if version.number is not None],
        )


class AdapterList(Reply):
    """By name."""

    object: Literal["list"] = "list"
    data: list[AdapterReply]
    has_more: bool
    """Whether there are others after the last; its id is the `after` of the next page."""


class VersionList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[VersionReply]


class Deleted(Reply):
    """What is gone."""

    id: str
    object: Literal["adapter", "adapter.version", "adapter.alias"]
    deleted: Literal[True] = True
