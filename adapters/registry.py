"""Adapters of every tenant: names, versions, aliases. No tensors are touched here; `publication` adds versions."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import aliases as moves
from adapters.digest import folder_key
from adapters.errors import AliasInUseError, InvalidNameError, UnknownAdapterError
from adapters.events import REMOVE, Happening, event_of, recent_events, remember
from adapters.reference import Reference, check_name
from adapters.rows import (
    adapter_row,
    checkpoint_rows,
    find_adapter,
    find_version,
    marks,
    needed_digests,
    num_users,
    resolve_row,
    rows_behind,
    version_rows,
)
from adapters.tables import AdapterRow, CheckpointRow, VersionRow
from adapters.version import Adapter, Change, Event, Version
from adapters.views import adapter_of, checkpoint_of, version_of
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
            StorageError: its files are not on this machine, and cannot be brought here.
        """
        reference = _parsed(reference)
        with self.database.reading() as session:
            adapter = find_adapter(session, tenant, reference.name)
            version = self.version(session, adapter, resolve_row(session, adapter, reference))
        # After the transaction: it may have to be downloaded.
        self.folders.bring(folder_key(version.digest))
        return version

    def adapters(self, tenant: str) -> list[Adapter]:
        """The tenant's adapters that have a ready version, by name."""
        with self.database.reading() as session:
            rows = session.scalars(select(AdapterRow).where(AdapterRow.tenant == tenant).order_by(AdapterRow.name))
            return self.view(session, rows.all())

    def adapter(self, tenant: str, name: str) -> Adapter:
        """One adapter.

        Raises:
            UnknownAdapterError: there is none of that name with a ready version; with the nearest names.
        """
        with self.database.reading() as session:
            found = self.view(session, [find_adapter(session, tenant, name)])
        if not found:
            raise UnknownAdapterError(name)
        return found[0]

    def versions(self, tenant: str, name: str) -> list[Version]:
        """An adapter's versions, newest first.

        Raises:
            UnknownAdapterError: with the nearest names of this tenant.
        """
        with self.database.reading() as session:
            adapter = find_adapter(session, tenant, name)
            rows = rows_behind(session, [adapter])
        return [version_of(self.folders, adapter, row, rows.marks) for row in rows.versions.get(adapter.id, ())]

    def checkpoints(self, tenant: str, name: str) -> list[Version]:
        """The checkpoints that have the adapter's name now, newest step first.

        Raises:
            UnknownAdapterError: with the nearest names of this tenant.
        """
        with self.database.reading() as session:
            adapter = find_adapter(session, tenant, name)
            rows = checkpoint_rows(session, adapter)
        return [checkpoint_of(self.folders, adapter, row) for row in rows]

    def set_alias(self, tenant: str, target: Reference | str, alias: str, change: Change | None = None) -> Version:
        """Let an alias point to the version that a reference means now.

        Raises:
            InvalidNameError: the alias or reference is not well formed, or means a checkpoint.
            UnknownAdapterError, UnknownVersionError, UnknownAliasError: the reference means nothing.
        """
        target = _parsed(target)
        check_name(alias, "alias")
        with self.writing() as session:
            adapter = find_adapter(session, tenant, target.name)
            row = _lasting(resolve_row(session, adapter, target), target)
            moves.point(session, adapter, moves.Move(alias=alias, number=row.number), change or Change())
            return self.version(session, adapter, row)

    def promote(
        self, tenant: str, name: str, aliases: Sequence[moves.Move], change: Change | None = None
    ) -> list[Version]:
        """Move several aliases at once: all of them, or none where one is not where its caller thinks.

        Returns:
            The versions they point to now, in the order of the moves.

        Raises:
            InvalidNameError: an alias is not well formed.
            UnknownAdapterError, UnknownVersionError: there is nothing of that name.
            AliasMovedError: names where the alias points and where it was expected.
        """
        for move in aliases:
            check_name(move.alias, "alias")
        with self.writing() as session:
            adapter = find_adapter(session, tenant, name)
            for move in aliases:
                moves.point(session, adapter, move, change or Change())
            return [self.version(session, adapter, find_version(session, adapter, move.number)) for move in aliases]

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

    def history(
        self, tenant: str, name: str, *, alias: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[Event]:
        """What happened to an adapter, newest first; also after it was deleted.

        Args:
            tenant: whose.
            name: of the adapter.
            alias: only what concerns this one.
            limit: at most so many.
            before: only events older than the one of this id.

        Raises:
            UnknownAdapterError: there never was one of that name.
        """
        with self.database.reading() as session:
            adapter = adapter_row(session, tenant, name) or find_adapter(session, tenant, name)
            return [event_of(row) for row in recent_events(session, adapter, limit, before, alias)]

    def delete(self, tenant: str, name: str, number: int | None = None, change: Change | None = None) -> None:
        """Delete one version, or the whole adapter with aliases and checkpoints. Numbers are never given again.

        Files go when no version of any tenant has the same content.

        Raises:
            UnknownAdapterError, UnknownVersionError: there is nothing of that name.
            AliasInUseError: an alias points to this one version.
        """
        change = change or Change()
        with self.writing() as session:
            adapter = find_adapter(session, tenant, name)
            rows: list[VersionRow | CheckpointRow]
            if number is None:
                rows = [*version_rows(session, adapter), *checkpoint_rows(session, adapter)]
                for alias in moves.alias_rows(session, adapter):
                    moves.remove(session, adapter, alias.name, change)
            else:
                rows = [find_version(session, adapter, number)]
                self._refuse_aliased(session, adapter, number)
            digests = [row.digest for row in rows]
            for row in rows:
                session.delete(row)
            remember(session, adapter, Happening(kind=REMOVE, number=number), change)
        self.collect(digests)

    def check_integrity(self) -> list[str]:
        """What is wrong between rows and files, for people; empty when all is well.

        Raises nothing: a folder without a row is normal for a moment while a version is being published.
        """
        with self.database.reading() as session:
            keys = {folder_key(digest) for digest in needed_digests(session)}
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
            needed = {folder_key(digest) for digest in needed_digests(session)}
            for key in set(self.folders.keys()) - needed:
                self.folders.discard(key)
        return self.folders.sweep(older_than_seconds)

    def version(self, session: Session, adapter: AdapterRow, row: VersionRow | CheckpointRow) -> Version:
        """A row as callers see it."""
        if isinstance(row, CheckpointRow):
            return checkpoint_of(self.folders, adapter, row)
        return version_of(
            self.folders, adapter, row, marks(session, select(VersionRow.id).where(VersionRow.id == row.id))
        )

    def view(self, session: Session, adapters: Sequence[AdapterRow]) -> list[Adapter]:
        """Rows as callers see them; those without a ready version are left out."""
        rows = rows_behind(session, adapters)
        found = [
            adapter_of(self.folders, adapter, rows.versions.get(adapter.id, ()), rows.marks) for adapter in adapters
        ]
        return [adapter for adapter in found if adapter is not None]

    def collect(self, digests: Iterable[str]) -> None:
        """Drop folders that no row needs. A second transaction, so that files outlive a failed commit of the first."""
        for digest in digests:
            with self.writing() as session:
                if not num_users(session, digest):
                    self.folders.discard(folder_key(digest))
        self.folders.empty_trash()

    def _refuse_aliased(self, session: Session, adapter: AdapterRow, number: int) -> None:
        version = find_version(session, adapter, number)
        aliases = [alias.name for alias in moves.alias_rows(session, adapter) if alias.version_id == version.id]
        if aliases:
            raise AliasInUseError(adapter.name, number, aliases)


def _lasting(row: VersionRow | CheckpointRow, target: Reference) -> VersionRow:
    if isinstance(row, CheckpointRow):
        raise InvalidNameError(
            f"{target} is a checkpoint, which goes when a newer job comes: an alias points to versions only; "
            "export the checkpoint and import it as a version"
        )
    return row


def _parsed(reference: Reference | str) -> Reference:
    return Reference.parse(reference) if isinstance(reference, str) else reference
