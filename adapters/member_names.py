"""Judging the names in an archive. They choose which of four known files is meant, and never become a path."""

import re

from adapters.errors import InvalidAdapterError
from adapters.files import ADAPTER_FILES, PICKLED_WEIGHTS, RECORD

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_NAME_CHARS = 1024
_MAX_DEPTH = 2
_KNOWN = (*ADAPTER_FILES, RECORD)


class KnownFiles:
    """Which adapter files an archive has shown so far: each at most once, all in one folder."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._has_pickle = False

    def recognise(self, name: str) -> str | None:
        """The known file that an entry is, or None for one to skip.

        Raises:
            InvalidAdapterError: the name would leave the archive's folder, or the file was there already.
        """
        parts = _parts(name)
        known = parts[-1] if parts else ""
        if len(parts) > _MAX_DEPTH:
            return None
        self._has_pickle = self._has_pickle or known == PICKLED_WEIGHTS
        if known not in _KNOWN:
            return None
        folder = "/".join(parts[:-1])
        if known in self._found:
            raise InvalidAdapterError(f"the archive holds {known} more than once: send one folder of one adapter")
        if any(other != folder for other in self._found.values()):
            raise InvalidAdapterError(f"the archive holds {known} in another folder than the rest: send one folder")
        self._found[known] = folder
        return known

    def check_complete(self, required: tuple[str, ...]) -> None:
        """Refuse an archive that lacks a file.

        Raises:
            InvalidAdapterError: names the missing file.
        """
        for name in required:
            if name not in self._found:
                fix = "; adapter_model.bin is a pickle and never read, save as safetensors" if self._has_pickle else ""
                raise InvalidAdapterError(f"the archive holds no {name}, neither at its top nor in one folder{fix}")


def _parts(name: str) -> list[str]:
    """The name's parts, `.` left out.

    Raises:
        InvalidAdapterError: it is absolute, climbs, or cannot be a name on every system.
    """
    if len(name) > _MAX_NAME_CHARS:
        raise InvalidAdapterError(f"the archive holds a name of {len(name)} characters, the limit is {_MAX_NAME_CHARS}")
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or _DRIVE.match(name) or _CONTROL.search(name):
        raise InvalidAdapterError(f"the archive holds the name {name[:120]!a}, which could leave its folder")
    return [part for part in parts if part not in ("", ".")]
