"""What the registry answers with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from adapters.manifest import Manifest
from adapters.reference import Reference


@dataclass(frozen=True, kw_only=True)
class Version:
    """One immutable version of an adapter, or a checkpoint that a job published under its name."""

    tenant: str
    name: str
    number: int | None
    """None: a checkpoint, which has a step instead."""
    checkpoint_step: int | None = None
    digest: str
    """`sha256:…` of its three files."""
    base_digest: str
    """Digest of the base it was made for, or `assumed`."""
    base_name: str
    rank: int
    """The largest rank of any module."""
    size_bytes: int
    created_at: datetime
    source: str
    """How it came: `import`, `train`, `checkpoint`, …"""
    job_id: str | None
    """The job that made it."""
    data_digest: str | None
    """Of the rows it was trained on."""
    metrics: Mapping[str, float]
    lineage: Mapping[str, JsonValue]
    aliases: tuple[str, ...]
    """Aliases that point to it now, sorted."""
    tags: Mapping[str, str]
    """What people call it, by key; the value of a mere label is empty."""
    pinned: bool
    """Whether every server loads it when it starts."""
    path: Path
    """Its folder; read only."""

    @property
    def reference(self) -> Reference:
        """The pinned `name:N`, or `name:ckpt-step-N`."""
        return Reference(name=self.name, number=self.number, checkpoint_step=self.checkpoint_step)

    @property
    def manifest(self) -> Manifest:
        """Its `lorad.json`, read from the disk."""
        return Manifest.read(self.path)


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter name and what stands behind it."""

    tenant: str
    name: str
    created_at: datetime
    num_versions: int
    latest: Version
    """The newest ready version."""
    versions: tuple[Version, ...]
    """Newest first."""
    aliases: Mapping[str, int]
    """Alias to version number."""
    keep_versions: int | None
    """How many of its newest versions retention keeps; None: as the settings say."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Who changes something, and why; kept in the adapter's history."""

    actor: str = ""
    reason: str = ""
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    """The figures behind the reason."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to an adapter."""

    id: int
    """Grows with time."""
    kind: str
    """One of `adapters.events.KINDS`."""
    at: datetime
    actor: str
    reason: str
    alias: str | None
    """The alias that moved."""
    from_number: int | None
    """Where the alias pointed before."""
    number: int | None
    """The version concerned; of an alias, where it points since."""
    job_id: str | None
    details: Mapping[str, JsonValue]
    """Of a publication: digest, data digest, metrics; of tags: which."""
