"""`/v1/adapters`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from adapters.version import Adapter, Version
from service.api.residency import Place, Places
from service.api.schemas.evaluate import finite
from service.api.schemas.schema import Reply, Schema
from service.engine.residency.residency import Placement

Reason = Annotated[str, Field(max_length=500)]


class AliasBody(Schema):
    """Where an alias is to point."""

    version: int = Field(ge=1, le=999_999_999)
    reason: Reason = ""
    """Kept in the alias's history."""


class RollbackBody(Schema):
    """Which alias is to go back."""

    alias: str = Field(min_length=1, max_length=64)
    reason: Reason = ""


class VersionReply(Reply):
    """One immutable version."""

    id: str
    """The pinned `name:N`, as requests can name it."""
    object: Literal["adapter.version"] = "adapter.version"
    name: str
    number: int
    digest: str
    base_name: str
    base_digest: str
    rank: int
    size_bytes: int
    created_at: datetime
    source: str
    metrics: dict[str, float | None]
    lineage: dict[str, JsonValue]
    aliases: list[str]
    residency: Placement
    """The nearest place where it is: on the device, in host memory, or in the store only."""
    pinned: bool
    """Whether it was loaded to stay on the device."""

    @classmethod
    def of(cls, version: Version, place: Place) -> "VersionReply":
        """Of a version and where it is."""
        return cls(
            id=str(version.reference),
            name=version.name,
            number=version.number,
            digest=version.digest,
            base_name=version.base_name,
            base_digest=version.base_digest,
            rank=version.rank,
            size_bytes=version.size_bytes,
            created_at=version.created_at,
            source=version.source,
            metrics={name: finite(value) for name, value in version.metrics.items()},
            lineage=dict(version.lineage),
            aliases=list(version.aliases),
            residency=place.residency,
            pinned=place.pinned,
        )


class PlacedVersion(Reply):
    """Where one version is."""

    number: int
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

    @classmethod
    def of(cls, adapter: Adapter, places: Places) -> "AdapterReply":
        """Of an adapter and where its versions are."""
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
                    pinned=places[version].pinned,
                )
                for version in adapter.versions
            ],
            aliases=dict(adapter.aliases),
        )


class AdapterList(Reply):
    """By name."""

    object: Literal["list"] = "list"
    data: list[AdapterReply]


class VersionList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[VersionReply]


class Deleted(Reply):
    """What is gone."""

    id: str
    object: Literal["adapter", "adapter.version", "adapter.alias"]
    deleted: Literal[True] = True
