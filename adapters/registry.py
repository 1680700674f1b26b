"""Adapters of every tenant: names, versions, aliases. No tensors are touched here; `publication` adds versions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters import aliases as moves
from adapters.digest import folder_key
from adapters.errors import AliasInUseError
from adapters.reference import Reference, check_name
from adapters.rows import by_version, find_adapter, find_version, resolve_row, tenant_rows, version_rows
from adapters.tables import READY, AdapterRow, VersionRow
from adapters.version import Adapter, AliasEvent, Change, Version
from storage.database import Database
from storage.folders import FolderStore

_LOCK = "adapters"


class Registry:
    """Names, immutable versions and movable aliases. Every method sees one tenant only.

    Safe for threads and processes: each call is one transaction, and nothing is cached, so that a version published by
    another process is found at once. References are texts or `Reference` objects.
    """

    def __init__(self, database: Database, folders: FolderStore) -> None:
        self.database = database
        self.folders = folders

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that changes adapters; one runs at a time, or one would delete what another relies on."""
        with self.database.session() as session:
            self.database.serialise(session, _LOCK)
            yield session

    def resolve(self, tenant: str, reference: Reference | str) -> Version:
        """The version a reference means.

        Raises:
            InvalidNameError: the reference is not well formed.
            UnknownAdapterError: with the nearest names of this tenant.
            UnknownVersionError: no such number or checkpoint, or no version is ready.
            UnknownAliasError: with the nearest aliases.
        """
        reference = _parsed(reference)
        with self.database.reading() as session:
            adapter = find_adapter(session, tenant, reference.name)
            return self.version(session, adapter, resolve_row(session, adapter, reference))

    def adapters(self, tenant: str) -> list[Adapter]:
        """The tenant's adapters that have a ready version, by name."""
        with self.database.reading() as session:
            rows = tenant_rows(session, tenant)
        found = [self._adapter(row, rows.versions.get(row.id, []), rows.aliases) for row in rows.adapters]
        return [adapter for adapter in found if adapter is not None]

    def versions(self, tenant: str, name: str) -> list[Version]:
        """An adapter's versions, newest first.

        Raises:
            UnknownAdapterError: with the nearest names of this tenant.
        """
        with self.database.reading() as session:
            adapter = find_adapter(session, tenant, name)
            aliases = by_version(moves.alias_rows(session, adapter))
            return [self._version(adapter, row, aliases) for row in version_rows(session, adapter)]

    def set_alias(self, tenant: str, target: Reference | str, alias: str, change: Change | None = None) -> Version:
        """Let an alias point to the version that a reference means now.

        Raises:
            InvalidNameError: the alias or reference is not well formed.
            UnknownAdapterError, UnknownVersionError, UnknownAliasError: the reference means nothing.
        """
        target = _parsed(target)
        check_name(alias, "alias")
        with self.writing() as session:
            adapter = find_adapter(session, tenant, target.name)
            row = resolve_row(session, adapter, target)
            moves.point(session, adapter, alias, row.number, change or Change())
            return self.version(session, adapter, row)

    def rollback(self, tenant: str, name: str, alias: str, change: Change | None = None) -> Version:
        """Let an alias point to what it pointed to before; repeated, it goes further back.

        Raises:
            UnknownAdapterError, UnknownAliasError: there is nothing of that name.
            NoEarlierVersionError: it never pointed to another version that still exists.
        """
        with self.writing() as session:
            adapter = find_adapter(session, tenant, name)
            row = moves.go_back(session, adapter, alias, change or Change())
            return self.version(session, adapter, row)

    def delete_alias(self, tenant: str, name: str, alias: str, change: Change | None = None) -> None:
        """Delete an alias; the version it pointed to and its history stay.

        Raises:
            UnknownAdapterError, UnknownAliasError: there is nothing of that name.
        """
        with self.writing() as session:
            moves.remove(session, find_adapter(session, tenant, name), alias, change or Change())

    def alias_history(self, tenant: str, name: str, alias: str) -> list[AliasEvent]:
        """Every move of an alias, oldest first, also after it was deleted.

        Raises:
            UnknownAdapterError: with the nearest names of this tenant.
        """
        with self.database.reading() as session:
            return [
                AliasEvent(
                    alias=row.alias,
                    kind=row.kind,
                    from_number=row.from_number,
                    to_number=row.to_number,
                    at=row.at,
                    actor=row.actor,
                    reason=row.reason,
                )
                for row in moves.events(session, find_adapter(session, tenant, name), alias)
            ]

    def delete(self, tenant: str, name: str, number: int | None = None, change: Change | None = None) -> None:
        """Delete one version, or the whole adapter with its aliases. Numbers are never given again.

        Files go when no version of any tenant has the same content.

        Raises:
            UnknownAdapterError, UnknownVersionError: there is nothing of that name.
            AliasInUseError: an alias points to this one version.
        """
        with self.writing() as session:
            adapter = find_adapter(session, tenant, name)
            if number is None:
                rows = list(version_rows(session, adapter))
                for alias in moves.alias_rows(session, adapter):
                    moves.remove(session, adapter, alias.name, change or Change())
            else:
                rows = [find_version(session, adapter, number)]
                self._refuse_aliased(session, adapter, rows[0])
            digests = [row.digest for row in rows]
            for row in rows:
                session.delete(row)
        self._collect(digests)

    def check_integrity(self) -> list[str]:
        """What is wrong between rows and files, for people; empty when all is well.

        Raises nothing: a folder without a row is normal for a moment while a version is being published.
        """
        with self.database.reading() as session:
            keys = {folder_key(digest) for digest in session.scalars(select(VersionRow.digest))}
        stored = set(self.folders.keys())
        return [f"version files {key} are missing" for key in sorted(keys - stored)] + [
            f"folder {key} belongs to no version" for key in sorted(stored - keys)
        ]

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed processes left in the store: staged folders that old, and folders that no row needs.

        Returns:
            The number of folders removed.
        """
        with self.writing() as session:
            # A folder appears in the transaction that adds its row, so that none is half-way here.
            needed = {folder_key(digest) for digest in session.scalars(select(VersionRow.digest))}
            for key in set(self.folders.keys()) - needed:
                self.folders.discard(key)
        return self.folders.sweep(older_than_seconds)

    def version(self, session: Session, adapter: AdapterRow, row: VersionRow) -> Version:
        """A row as callers see it."""
        return self._version(adapter, row, by_version(moves.alias_rows(session, adapter)))

    def _adapter(
        self, row: AdapterRow, rows: Sequence[VersionRow], aliases: Mapping[int, tuple[str, ...]]
    ) -> Adapter | None:
        versions = [self._version(row, each, aliases) for each in rows]
        ready = next((each.number for each in rows if each.state == READY), None)
        if ready is None:
            return None
        return Adapter(
            tenant=row.tenant,
            name=row.name,
            created_at=row.created_at,
            num_versions=len(versions),
            versions=tuple(versions),
            latest=next(version for version in versions if version.number == ready),
            aliases={alias: version.number for version in versions for alias in version.aliases},
        )

    def _version(self, adapter: AdapterRow, row: VersionRow, aliases: Mapping[int, tuple[str, ...]]) -> Version:
        return Version(
            tenant=adapter.tenant,
            name=adapter.name,
            number=row.number,
            digest=row.digest,
            base_digest=row.base_digest,
            base_name=row.base_name,
            rank=row.rank,
            size_bytes=row.size_bytes,
            created_at=row.created_at,
            source=row.source,
            metrics=row.metrics,
            lineage=row.lineage,
            aliases=aliases.get(row.id, ()),
            path=self.folders.place(folder_key(row.digest)),
        )

    def _refuse_aliased(self, session: Session, adapter: AdapterRow, row: VersionRow) -> None:
        aliases = [alias.name for alias in moves.alias_rows(session, adapter) if alias.version_id == row.id]
        if aliases:
            raise AliasInUseError(adapter.name, row.number, aliases)

    def _collect(self, digests: list[str]) -> None:
        """Drop folders that no row needs. A second transaction, so that files outlive a failed commit of the first."""
        for digest in digests:
            with self.writing() as session:
                if not session.scalar(select(func.count()).where(VersionRow.digest == digest)):
                    self.folders.discard(folder_key(digest))
        self.folders.empty_trash()


def _parsed(reference: Reference | str) -> Reference:
    return Reference.parse(reference) if isinstance(reference, str) else reference
