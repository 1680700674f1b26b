"""Decompressing gzip with a bound on what comes out."""

import gzip
import zlib
from typing import BinaryIO

from adapters.errors import InvalidAdapterError


class BoundedGzip:
    """Reads gzip from a file, at most so many bytes in all; a single read is no larger than was asked for.

    Raises:
        InvalidAdapterError: on reading, when the limit is passed or the data is damaged or cut.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")
        self._left_bytes = max_bytes
        self._max_bytes = max_bytes

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        if size > self._left_bytes:
            # One byte more than allowed tells a stream that ends here from one that goes on.
            size = self._left_bytes + 1
        data = self._decompress(size)
        if len(data) > self._left_bytes:
            raise InvalidAdapterError(f"the .tar.gz archive unpacks to more than {self._max_bytes} bytes, the limit")
        self._left_bytes -= len(data)
        return data

    def _decompress(self, size: int) -> bytes:
        try:
            return self._gzip.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidAdapterError(f"the .tar.gz archive is damaged or was cut short: {error}") from error
