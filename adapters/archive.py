"""Adapters as one file: unpacking what strangers send, packing what we hand out."""

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from adapters.errors import InvalidAdapterError
from adapters.files import ADAPTER_FILES, CONFIG, MAX_BYTES, MAX_WEIGHTS_BYTES, RECORD, WEIGHTS
from adapters.gzipstream import BoundedGzip
from adapters.member_names import KnownFiles
from adapters.tarstream import TarStream
from adapters.version import Version
from adapters.ziparchive import open_zip

_CHUNK = 1 << 20
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What is refused."""

    archive_bytes: int = 4 << 30
    unpacked_bytes: int = MAX_WEIGHTS_BYTES + (64 << 20)
    """All entries together, skipped ones too where they must be decompressed (tar)."""
    ratio: int = 200
    """Unpacked bytes for each byte of the archive, once past `free_bytes`."""
    free_bytes: int = 16 << 20
    entries: int = 1000

    def unpacked_limit(self, archive_bytes: int) -> int:
        """The bytes an archive of this size may unpack to."""
        return min(self.unpacked_bytes, max(self.free_bytes, self.ratio * archive_bytes))


def unpack(file: BinaryIO, staged: Path, limits: ArchiveLimits | None = None) -> None:
    """Copy the adapter files out of a .zip or .tar.gz, of one folder or of plain files; everything else is skipped.

    The format is told by the first bytes. Only four fixed names are ever created, in the staged folder.

    Args:
        file: seekable.
        staged: an existing, empty folder.
        limits: sizes, compression ratio and number of entries.

    Raises:
        InvalidAdapterError: the archive is of another kind, damaged, hostile, over a limit, or lacks a file.
    """
    limits = limits or ArchiveLimits()
    size_bytes = file.seek(0, 2)
    if size_bytes > limits.archive_bytes:
        raise InvalidAdapterError(f"the archive has {size_bytes} bytes, more than the limit of {limits.archive_bytes}")
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    if magic == _ZIP:
        found = _unpack_zip(file, staged, limits, size_bytes)
    elif magic[:2] == _GZIP:
        found = _unpack_tar(file, staged, limits, size_bytes)
    else:
        raise InvalidAdapterError(
            "the archive is neither a .zip nor a .tar.gz: pack the adapter's folder as one of these"
        )
    found.check_complete((CONFIG, WEIGHTS))


def pack(version: Version, file: BinaryIO, record: bytes | None = None) -> None:
    """Write a version as a .tar.gz of one folder `name-N`; the same version always gives the same bytes.

    Args:
        version: what to write.
        file: where to.
        record: the content of `registry.json`, if it is to go along.
    """
    folder = str(version.reference).replace(":", "-")
    # Level 1: trained weights hardly compress, and the exporter waits.
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(ADAPTER_FILES):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = (version.path / name).stat().st_size
            with (version.path / name).open("rb") as content:
                archive.addfile(entry, content)
        if record is not None:
            entry = tarfile.TarInfo(f"{folder}/{RECORD}")
            entry.size = len(record)
            archive.addfile(entry, io.BytesIO(record))


def _unpack_tar(file: BinaryIO, staged: Path, limits: ArchiveLimits, size_bytes: int) -> KnownFiles:
    found = KnownFiles()
    decompressed = BoundedGzip(file, limits.unpacked_limit(size_bytes))
    stream = TarStream(decompressed.read, limits.entries)
    for member in stream.members():
        known = found.recognise(member.name)
        if known is not None:
            _write(stream.read, staged, known)
    # To the end, so that gzip compares its checksum.
    while decompressed.read(_CHUNK):
        pass
    return found


def _unpack_zip(file: BinaryIO, staged: Path, limits: ArchiveLimits, size_bytes: int) -> KnownFiles:
    found = KnownFiles()
    left_bytes = limits.unpacked_limit(size_bytes)
    with open_zip(file, limits.entries) as archive:
        for member in archive.members():
            known = found.recognise(member.orig_filename)
            if known is not None:
                left_bytes -= member.file_size
                if left_bytes < 0:
                    raise InvalidAdapterError("the .zip archive unpacks to more than its size or the limit allows")
                with archive.reader(member) as read:
                    _write(read, staged, known)
    return found


def _write(read: Callable[[int], bytes], staged: Path, name: str) -> None:
    """Copy one file, at most up to its own limit; `x` because nothing may be there."""
    left_bytes = MAX_BYTES[name]
    with (staged / name).open("xb") as target:
        while chunk := read(_CHUNK):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise InvalidAdapterError(f"{name} in the archive has more than {MAX_BYTES[name]} bytes, the limit")
            target.write(chunk)
