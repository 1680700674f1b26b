"""Every tenant's files: rows in the database, bytes in the object store."""

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from service.files.errors import FileInUseError, TooManyFilesError, UnknownFileError
from service.files.incoming import arriving, sweep
from service.files.inspection import inspect
from service.files.stored_file import Purpose, Status, StoredFile, checked_filename
from service.files.tables import FileRow
from service.page import Order, Page
from storage.database import Database
from storage.durable import staged_file
from storage.errors import StagedFolderError, UnknownObjectError
from storage.objects.store import ObjectStore

Place = TypeVar("Place")
Uses = Callable[[str, str], str | None]
"""The id of a job of this tenant that still reads this file."""

_LOCK = "files"


class Files:
    """Uploads, listings, readings and deletions. Every method sees one tenant only; safe for threads and processes.

    Args:
        database: where rows are.
        objects: where bytes are.
        cache: a folder of this machine, for uploads under way and for `local_copy`.
        max_bytes: of one file.
        max_files: of one tenant.
        uses: who forbids a deletion.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        *,
        cache: Path,
        max_bytes: int,
        max_files: int,
        uses: Uses = lambda _tenant, _file: None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._cache = cache
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._uses = uses

    def create(self, tenant: str, filename: str, purpose: Purpose, chunks: Iterable[bytes]) -> StoredFile:
        """Keeps a file; on return it is durable. A file of which no row can be learnt is kept with status `error`.

        Raises:
            InvalidFileError: its name or format cannot be used, or it is empty.
            FileTooLargeError, TooManyFilesError: it is beyond a bound.
            StorageError: the store or the database is full or away. Nothing is kept but, where the database's answer
                was lost, bytes without a row, which `sweep` removes.
        """
        filename = checked_filename(filename)
        file_id = f"file-{secrets.token_hex(12)}"
        with arriving(self._cache, filename, chunks, self._max_bytes) as arrived:
            verdict = inspect(arrived.path, filename)
            with arrived.path.open("rb") as source, self._objects.write(_key(tenant, file_id)) as target:
                shutil.copyfileobj(source, target)
        row = FileRow(
            id=file_id,
            tenant=tenant,
            filename=filename,
            purpose=purpose,
            bytes=arrived.bytes,
            digest=arrived.digest,
            created_at=datetime.now(UTC),
            status=verdict.status,
            status_details=verdict.details,
        )
        try:
            self._insert(row)
        except TooManyFilesError:
            # After any other error the row may be there all the same: the answer to a commit can be lost.
            self._objects.delete(_key(tenant, file_id))
            raise
        return _stored(row)

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """One file.

        Raises:
            UnknownFileError: the tenant has none of that id.
        """
        with self._database.reading() as session:
            return _stored(find_row(session, tenant, file_id))

    def list(
        self,
        tenant: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        order: Order = "desc",
    ) -> Page[StoredFile]:
        """Files in order of creation, from the one after `after`.

        Raises:
            UnknownFileError: there is no file `after`.
        """
        place = tuple_(FileRow.created_at, FileRow.id)
        query = select(FileRow).where(FileRow.tenant == tenant)
        if purpose is not None:
            query = query.where(FileRow.purpose == purpose)
        with self._database.reading() as session:
            if after is not None:
                cursor = find_row(session, tenant, after)
                here = (cursor.created_at, cursor.id)
                query = query.where(place > here if order == "asc" else place < here)
            sorted_by = (FileRow.created_at, FileRow.id)
            query = query.order_by(*(sorted_by if order == "asc" else (column.desc() for column in sorted_by)))
            rows = session.scalars(query.limit(limit + 1)).all()
        return Page.of([_stored(row) for row in rows], limit)

    def open(self, tenant: str, file_id: str) -> BinaryIO:
        """The bytes of a file, to be closed by the caller.

        Raises:
            UnknownFileError: the tenant has none of that id.
            StorageError: the store is away.
        """
        self.get(tenant, file_id)
        return self._objects.open(_key(tenant, file_id))

    def local_copy(self, tenant: str, file_id: str) -> Path:
        """A path of this machine with the file's own suffix; fetched once, gone when the file is deleted here.

        Raises:
            UnknownFileError: the tenant has none of that id.
            StorageError: the store is away.
        """
        file = self.get(tenant, file_id)
        path = self._local(file)
        if not path.is_file():
            try:
                with staged_file(path) as staged, self.open(tenant, file_id) as source, staged.open("xb") as target:
                    shutil.copyfileobj(source, target)
            except StagedFolderError:
                # Somebody else fetched it meanwhile: the bytes of an id never change.
                assert path.is_file()
        return path

    def delete(self, tenant: str, file_id: str) -> None:
        """Deletes a file that no job needs any more.

        Raises:
            UnknownFileError: the tenant has none of that id.
            FileInUseError: names the job that still reads it.
        """
        with self._database.session() as session:
            # Jobs are created under a shared lock of this row, so none can begin to use it meanwhile.
            row = find_row(session, tenant, file_id, for_update=True)
            job_id = self._uses(tenant, file_id)
            if job_id is not None:
                raise FileInUseError(file_id, job_id)
            session.delete(row)
        self._objects.delete(_key(tenant, file_id))
        self._local(_stored(row)).unlink(missing_ok=True)

    def sweep(self, older_than_seconds: float) -> None:
        """Removes what killed uploads left on this machine, untouched for that long, and copies of deleted files."""
        sweep(self._cache, older_than_seconds)
        copies = {path: path.name.partition(".")[0] for path in self._cache.glob("*/file-*.*")}
        for path in self._without_row(copies):
            path.unlink(missing_ok=True)

    def sweep_objects(self, older_than_seconds: float) -> None:
        """Removes bytes that old whose row was never written, or whose deletion was cut off.

        Raises:
            StorageError: the store is away.
        """
        limit = time.time() - older_than_seconds
        objects = {key: key.rpartition("/")[2] for key in self._objects.keys("files/")}
        for key in self._without_row(objects):
            with suppress(UnknownObjectError):
                if self._objects.written_at(key) <= limit:
                    self._objects.delete(key)

    def _without_row(self, ids: Mapping[Place, str]) -> Iterable[Place]:
        with self._database.reading() as session:
            known = set(session.scalars(select(FileRow.id)))
        return [place for place, file_id in ids.items() if file_id not in known]

    def _insert(self, row: FileRow) -> None:
        with self._database.session() as session:
            self._database.serialise(session, _LOCK)
            count = session.scalar(select(func.count()).select_from(FileRow).where(FileRow.tenant == row.tenant))
            if cast(int, count) >= self._max_files:
                raise TooManyFilesError(self._max_files)
            session.add(row)

    def _local(self, file: StoredFile) -> Path:
        return self._cache / file.tenant / f"{file.id}{file.suffix}"


def find_row(session: Session, tenant: str, file_id: str, *, for_update: bool = False, shared: bool = False) -> FileRow:
    """The row of a file, locked if asked for until the transaction ends.

    Args:
        session: the transaction.
        tenant: whose file.
        file_id: which.
        for_update: nobody else may lock it.
        shared: nobody may delete it; for whoever is about to refer to it.

    Raises:
        UnknownFileError: the tenant has none of that id.
    """
    query = select(FileRow).where(FileRow.tenant == tenant, FileRow.id == file_id)
    if for_update or shared:
        query = query.with_for_update(read=shared)
    row = session.scalar(query)
    if row is None:
        raise UnknownFileError(file_id)
    return row


def _key(tenant: str, file_id: str) -> str:
    return f"files/{tenant}/{file_id}"


def _stored(row: FileRow) -> StoredFile:
    return StoredFile(
        id=row.id,
        tenant=row.tenant,
        filename=row.filename,
        purpose=cast(Purpose, row.purpose),
        bytes=row.bytes,
        digest=row.digest,
        created_at=row.created_at,
        status=cast(Status, row.status),
        status_details=row.status_details,
    )
