"""What the registry answers with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from adapters.manifest import Manifest
from adapters.reference import Reference


@dataclass(frozen=True, kw_only=True)
class Version:
    """One immutable version of an adapter."""

    tenant: str
    name: str
    number: int
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
    """How it came: `import`, `train`, …"""
    metrics: Mapping[str, float]
    lineage: Mapping[str, JsonValue]
    aliases: tuple[str, ...]
    """Aliases that point to it now, sorted."""
    path: Path
    """Its folder; read only."""

    @property
    def reference(self) -> Reference:
        """The pinned `name:N`."""
        return Reference(name=self.name, number=self.number)

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


@dataclass(frozen=True, kw_only=True)
class Change:
    """Who moves an alias, and why; kept in its history."""

    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class AliasEvent:
    """One move of an alias."""

    alias: str
    kind: str
    """`set`, `rollback` or `delete`."""
    from_number: int | None
    to_number: int | None
    at: datetime
    actor: str
    reason: str
