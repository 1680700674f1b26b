"""Versions from one registry to another: an archive with the registry's record, signed."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import JsonValue

from adapters.archive import ArchiveLimits, pack, unpack
from adapters.digest import adapter_digest
from adapters.errors import InvalidAdapterError
from adapters.files import MANIFEST, MAX_JSON_BYTES, RECORD, read_bytes
from adapters.publication import Submission
from adapters.record import MAX_EVENTS, Record
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.signing import SigningKey, is_signed, verify
from adapters.version import Change

ORIGIN = "origin"
"""Key of an imported version's lineage: where it was exported."""
_IN_MEMORY_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose archives are taken."""

    keys: Mapping[bytes, str] = field(default_factory=dict)
    """Public keys and the names of those who sign by them."""
    allow_unsigned: bool = False
    """Whether an archive that is unsigned, or signed by somebody unknown, is taken as well."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """An archive's content, in a folder that lasts as long as the block it was unpacked in."""

    folder: Path
    record: Record | None
    signer: str | None
    """None: nobody who is trusted."""

    def submission(self, tenant: str, name: str | None, change: Change) -> Submission:
        """What is to be published; under the name that it had where no other is given.

        Raises:
            InvalidAdapterError: neither the caller nor the archive says a name.
        """
        record = self.record
        if record is None:
            if name is None:
                raise InvalidAdapterError(f"the archive holds no {RECORD}, so it says no name: give one")
            return Submission(tenant=tenant, name=name, folder=self.folder, source="archive", change=change)
        return Submission(
            tenant=tenant,
            name=name or record.name,
            folder=self.folder,
            source="archive",
            metrics=record.metrics,
            lineage={**record.lineage, ORIGIN: self._origin(record)},
            tags=record.tags,
            change=change,
        )

    def _origin(self, record: Record) -> dict[str, JsonValue]:
        values = record.model_dump(
            mode="json", include={"name", "number", "checkpoint_step", "created_at", "source", "job_id"}
        )
        return {**values, "signer": self.signer, "history": record.model_dump(mode="json")["history"]}


def export(registry: Registry, tenant: str, reference: Reference | str, file: BinaryIO, key: SigningKey | None) -> None:
    """Write a version with its record as one .tar.gz, signed unless there is no key; same version and key, same bytes.

    Raises:
        AdapterError: the reference means nothing.
    """
    version = registry.resolve(tenant, reference)
    history = registry.history(tenant, version.name, limit=MAX_EVENTS)
    record = Record.of(version, history).to_bytes()
    if key is None:
        pack(version, file, record)
        return
    # The signature comes first and needs all that follows.
    with cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as packed:
        pack(version, packed, record)
        packed.seek(0)
        file.write(key.prefix(packed))
        packed.seek(0)
        while chunk := packed.read(_CHUNK_BYTES):
            file.write(chunk)


@contextmanager
def received(
    registry: Registry, file: BinaryIO, trust: Trust, limits: ArchiveLimits | None = None
) -> Iterator[Received]:
    """Verify an archive, then unpack it into a folder for the time of the block.

    Args:
        registry: in whose store the folder is made.
        file: seekable.
        trust: whose archives are taken.
        limits: as of `adapters.archive.unpack`.

    Raises:
        UntrustedArchiveError: it is unsigned, changed, or signed by nobody who is trusted.
        InvalidAdapterError: it cannot be unpacked, or its record belongs to other files.
    """
    signer = None
    if not trust.allow_unsigned or (is_signed(file) and trust.keys):
        signer = _signer(file, trust)
    with registry.folders.stage() as folder:
        unpack(file, folder, limits)
        yield Received(folder=folder, record=_record(folder), signer=signer)


def _signer(file: BinaryIO, trust: Trust) -> str | None:
    try:
        return verify(file, trust.keys)
    except InvalidAdapterError:
        if trust.allow_unsigned:
            return None
        raise


def _record(folder: Path) -> Record | None:
    if not (folder / RECORD).exists():
        return None
    record = Record.parse(read_bytes(folder / RECORD, MAX_JSON_BYTES))
    (folder / RECORD).unlink()
    if not (folder / MANIFEST).exists() or adapter_digest(folder) != record.digest:
        raise InvalidAdapterError(f"{RECORD} was written for other files than the archive holds ({record.digest})")
    return record
