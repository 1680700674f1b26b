"""Whether an export fits on its disk, asked before anything is written."""

import shutil
from pathlib import Path

from service.errors import ExportError

_SPARE_BYTES = 64 << 20
"""For the tokenizer's files, and so that the disk is not left full to the last byte."""


def require_space(output: Path, needed_bytes: int) -> None:
    """Refuse an export that would fill the disk.

    Raises:
        ExportError: with what is needed and what is free.
    """
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes + _SPARE_BYTES:
        raise ExportError(
            f"the export needs {_gibibytes(needed_bytes + _SPARE_BYTES)} in {folder}, where "
            f"{_gibibytes(free_bytes)} are free; make room, or name another --output"
        )


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
