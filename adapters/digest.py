"""The identity of an adapter version: a digest of its three files."""

import hashlib
import json
from pathlib import Path

from adapters.files import ADAPTER_FILES, MAX_BYTES, open_plain

_PREFIX = "sha256:"


def adapter_digest(folder: Path) -> str:
    """`sha256:…` over a canonical listing of name, size and SHA-256 of the three files; nothing else counts.

    Raises:
        InvalidAdapterError: one of the files is missing, not plain, or too large.
    """
    listing = [_entry(folder / name) for name in sorted(ADAPTER_FILES)]
    canonical = json.dumps(listing, sort_keys=True, separators=(",", ":")).encode("ascii")
    return _PREFIX + hashlib.sha256(canonical).hexdigest()


def folder_key(digest: str) -> str:
    """The folder store's key for a digest: the same without its prefix."""
    return digest.removeprefix(_PREFIX)


def _entry(path: Path) -> dict[str, str | int]:
    with open_plain(path, MAX_BYTES[path.name]) as file:
        content = hashlib.file_digest(file, "sha256")
        return {"name": path.name, "size": file.tell(), "sha256": content.hexdigest()}
