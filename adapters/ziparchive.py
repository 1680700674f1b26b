"""Opening a zip without trusting its directory."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from adapters.errors import InvalidAdapterError

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_ZIP64_LOCATOR: Final = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES: Final = 20
_MAX_COMMENT_BYTES: Final = 1 << 16
_MAX_ENTRY_BYTES: Final = 2048
"""Of the directory, on average: 46 and the name, extra fields and comment."""
_ENCRYPTED: Final = 0x1
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, OverflowError,
    struct.error,
)  # fmt: skip
"""What the standard library raises on hostile archives; RuntimeError for a password, ValueError for a bad seek."""


class ZipArchive:
    """A zip whose directory was found small enough to read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def members(self) -> Iterator[zipfile.ZipInfo]:
        """The plain files, in the directory's order.

        Raises:
            InvalidAdapterError: an entry is a link, a device or encrypted.
        """
        for member in self._archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _invalid(f"entry {member.filename[:120]!a} is a link or a device")
            if member.flag_bits & _ENCRYPTED:
                raise _invalid(f"entry {member.filename[:120]!a} is encrypted")
            # Not is_dir(), which fails on an empty name.
            if not member.orig_filename.endswith("/"):
                yield member

    @contextmanager
    def reader(self, member: zipfile.ZipInfo) -> Iterator[Callable[[int], bytes]]:
        """A function that gives up to so many bytes of an entry, and checks the checksum at its end."""
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _invalid(f"entry {member.filename[:120]!a} is packed by method {member.compress_type}: use deflate")
        with _damage_refused():
            file = self._archive.open(member)

        def read(size: int) -> bytes:
            # Only the reading: a full disk on the writing side is not the archive's fault.
            with _damage_refused():
                return file.read(size)

        with file:
            yield read


@contextmanager
def open_zip(file: BinaryIO, max_entries: int) -> Iterator[ZipArchive]:
    """Open a zip of at most so many entries.

    Raises:
        InvalidAdapterError: it is damaged, has too many entries, or is a zip64, which no adapter needs.
    """
    _check_directory(file, max_entries)
    with _damage_refused():
        archive = zipfile.ZipFile(file)
    with archive:
        if len(archive.infolist()) > max_entries:
            raise _invalid(f"it has more than {max_entries} entries")
        yield ZipArchive(archive)


def _check_directory(file: BinaryIO, max_entries: int) -> None:
    """Look at the directory's size before anything parses it: a large one costs gigabytes of objects."""
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(max(0, size_bytes - _MAX_COMMENT_BYTES - _END_BYTES - _ZIP64_LOCATOR_BYTES))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < _END_BYTES:
        raise _invalid("it has no directory at its end: it was cut short")
    if _ZIP64_LOCATOR in tail[max(0, end - _ZIP64_LOCATOR_BYTES) : end]:
        raise _invalid("it is a zip64 archive: pack the adapter's folder as .tar.gz")
    (directory_bytes,) = struct.unpack_from("<I", tail, end + 12)
    if directory_bytes > max_entries * _MAX_ENTRY_BYTES:
        raise _invalid(f"its directory of {directory_bytes} bytes is too large for {max_entries} entries")


@contextmanager
def _damage_refused() -> Iterator[None]:
    try:
        yield
    except InvalidAdapterError:
        raise
    except _DAMAGE as error:
        raise _invalid(f"it is damaged, cut short or of an unsupported kind ({str(error)[:120]})") from error


def _invalid(reason: str) -> InvalidAdapterError:
    return InvalidAdapterError(f"the .zip archive cannot be used: {reason}")
