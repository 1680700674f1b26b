"""A file on its way in: bytes to a path of this machine, counted, digested and bounded."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.files.errors import EmptyUploadError, FileTooLargeError

_PREFIX = "incoming-"


@dataclass(frozen=True)
class Arrived:
    """What has come in."""

    path: Path
    bytes: int
    digest: str
    """SHA-256, hexadecimal."""


@contextmanager
def arriving(folder: Path, filename: str, chunks: Iterable[bytes], max_bytes: int) -> Iterator[Arrived]:
    """The file that `chunks` make, on disk for the time of the block; one chunk is in memory at a time.

    Raises:
        FileTooLargeError: it has more than `max_bytes`.
        EmptyUploadError: it has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as place:
        path = Path(place) / f"file{Path(filename).suffix.lower()}"
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as stream:
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise FileTooLargeError(filename, max_bytes)
                digest.update(chunk)
                stream.write(chunk)
        if not size:
            raise EmptyUploadError(filename)
        yield Arrived(path, size, digest.hexdigest())


def sweep(folder: Path, older_than_seconds: float) -> None:
    """Removes what uploads left whose process was killed."""
    limit = time.time() - older_than_seconds
    for place in folder.glob(f"{_PREFIX}*"):
        if place.stat().st_mtime < limit:
            shutil.rmtree(place, ignore_errors=True)
