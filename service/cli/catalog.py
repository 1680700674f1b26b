"""The registry as `lorad adapters` sees it: in this process's home, or on a running server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which adapters are wanted; see `adapters.search.Search`."""

    tags: Sequence[str] = ()
    base: str | None = None
    text: str | None = None
    metrics: Sequence[str] = ()


class Catalog(Protocol):
    """What the commands need; versions and adapters are JSON objects as the HTTP routes give them."""

    def adapters(self, query: Query | None = None) -> list[Json]:
        """Every adapter that fulfils the query, with its newest version."""

    def versions(self, name: str, *, checkpoints: bool = False) -> list[Json]:
        """An adapter's versions, newest first, then its checkpoints if they are wanted."""

    def history(self, name: str, limit: int) -> list[Json]:
        """What happened to an adapter, newest first."""

    def lineage(self, reference: str) -> Json:
        """Where a version comes from."""

    def import_folder(self, folder: Path, name: str) -> Json:
        """Publishes a PEFT folder; gives the version."""

    def import_archive(self, archive: Path, name: str | None, *, allow_unsigned: bool) -> Json:
        """Publishes an archive that `export_archive` wrote; gives the version."""

    def export(self, reference: str, output: Path) -> None:
        """Writes a version to a folder, or to an archive when `output` ends in .tar.gz."""

    def export_archive(self, reference: str, output: Path, *, allow_unsigned: bool) -> None:
        """Writes a version with all that the registry knows of it, signed."""

    def promote(self, reference: str, aliases: Mapping[str, int | None], reason: str) -> list[Json]:
        """Moves aliases together, each from the version that is expected, if any; gives the versions."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Removes an alias."""

    def rollback(self, name: str, alias: str, reason: str) -> Json:
        """Takes an alias back; gives the version it means now."""

    def tag(self, reference: str, tags: Mapping[str, str | None], reason: str) -> Json:
        """Sets tags, and removes those whose value is None; gives the version."""

    def pin(self, reference: str, reason: str) -> Json:
        """Lets every server load a version when it starts; gives the version."""

    def unpin(self, reference: str) -> list[str]:
        """Takes pins off; gives the references of the versions that had one."""

    def keep(self, name: str, count: int | None, reason: str) -> None:
        """Sets how many versions of an adapter are kept; None: as the settings say."""

    def prune(self, name: str, count: int | None, *, checkpoints: bool, dry_run: bool) -> list[str]:
        """Deletes old versions; gives their references."""

    def delete(self, reference: str) -> None:
        """Removes a version (`name:N`) or an adapter (`name`)."""
