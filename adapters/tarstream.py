"""Walking a tar stream block by block, with every length bounded before it is read.

The standard library's reader follows extended headers of any length and keeps every member in memory; here a header is
parsed by `TarInfo.frombuf` and all that follows is up to us.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from adapters.errors import InvalidAdapterError

_BLOCK = tarfile.BLOCKSIZE
_MAX_EXTENDED_BYTES = 64 * 1024
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


@dataclass(frozen=True)
class TarMember:
    """One plain file of the stream; its bytes come next, and whoever walks reads or leaves them."""

    name: str
    size_bytes: int


class TarStream:
    """The plain files of a tar stream, in order.

    Args:
        read: gives so many decompressed bytes, fewer only at the end.
        max_entries: how many headers of any kind are walked.
    """

    def __init__(self, read: Callable[[int], bytes], max_entries: int) -> None:
        self._source = read
        self._max_entries = max_entries
        self._unread_bytes = 0
        self._padding_bytes = 0

    def members(self) -> Iterator[TarMember]:
        """Walk the stream; after each plain file, `read` gives its content.

        Raises:
            InvalidAdapterError: a link, device or sparse file, a malformed or cut stream, or too many entries.
        """
        long_name: str | None = None
        for _ in range(self._max_entries):
            header = self._header()
            if header is None:
                return
            if header.type in _EXTENDED:
                long_name = self._extended_name(header) or long_name
                continue
            if header.type != tarfile.DIRTYPE:
                yield self._open(header, long_name or header.name)
            self._skip()
            long_name = None
        raise _invalid(f"it has more than {self._max_entries} entries")

    def read(self, size: int) -> bytes:
        """The next bytes of the current member, empty at its end."""
        data = self._exactly(min(size, self._unread_bytes))
        self._unread_bytes -= len(data)
        return data

    def _header(self) -> tarfile.TarInfo | None:
        block = self._exactly(_BLOCK)
        if not any(block):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise _invalid(f"a header is malformed ({error})") from error

    def _open(self, header: tarfile.TarInfo, name: str) -> TarMember:
        if header.type not in _PLAIN:
            raise _invalid(f"entry {name[:120]!r} is a link, a device or a sparse file: only plain files are unpacked")
        if header.size < 0:
            raise _invalid(f"entry {name[:120]!r} has a negative size")
        self._unread_bytes = header.size
        self._padding_bytes = -header.size % _BLOCK
        return TarMember(name, header.size)

    def _skip(self) -> None:
        while self._unread_bytes:
            self.read(1 << 16)
        self._exactly(self._padding_bytes)
        self._padding_bytes = 0

    def _extended_name(self, header: tarfile.TarInfo) -> str | None:
        """The long name in an extended header, if it carries one."""
        if not 0 <= header.size <= _MAX_EXTENDED_BYTES:
            raise _invalid(f"an extended header has {header.size} bytes, more than the limit of {_MAX_EXTENDED_BYTES}")
        content = self._exactly(header.size)
        self._exactly(-header.size % _BLOCK)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return content.split(b"\0")[0].decode("utf-8", "surrogateescape")
        return _pax_path(content)

    def _exactly(self, size: int) -> bytes:
        data = self._source(size)
        if len(data) != size:
            raise _invalid("it ends in the middle: it was cut short")
        return data


def _pax_path(content: bytes) -> str | None:
    """The `path` record of `length key=value` lines; records that change how the data is read are refused."""
    path: str | None = None
    while content:
        digits, _, rest = content.partition(b" ")
        if not digits.isdigit() or len(digits) > 6 or not len(digits) + 1 < int(digits) <= len(content):
            raise _invalid("an extended header is malformed")
        length = int(digits) - len(digits) - 1
        key, _, value = rest[:length].rstrip(b"\n").partition(b"=")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise _invalid(f"an extended header sets {key.decode()}, which is not supported")
        if key == b"path":
            path = value.decode("utf-8", "surrogateescape")
        content = rest[length:]
    return path


def _invalid(reason: str) -> InvalidAdapterError:
    return InvalidAdapterError(f"the .tar.gz archive cannot be used: {reason}")
