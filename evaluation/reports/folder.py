"""The folder of a report: written whole, and over nothing but an earlier report."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluation.errors import ReportError
from storage.durable import flush, staged_folder

PLOTS = ("scores", "tags", "confusion", "calibration", "losses", "data-size")
"""Names of all plots that there may be."""
_OWN = {"report.md", "report.html", "report.json", *(f"{name}.png" for name in PLOTS)}


@contextmanager
def report_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a place for a report's files; they appear in `folder` all together when the block ends well.

    Raises:
        ReportError: as of `check_folder`.
    """
    # `.` has no name to put another beside.
    folder = folder.absolute().resolve()
    check_folder(folder, overwrite=overwrite)
    token = uuid.uuid4().hex
    fresh, earlier = (folder.with_name(f".{folder.name}.{token}.{age}") for age in ("new", "earlier"))
    with staged_folder(fresh) as staged:
        yield staged
    if folder.exists():
        os.rename(folder, earlier)
    os.rename(fresh, folder)
    flush(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that a report would be written over.

    Raises:
        ReportError: it holds something, and `overwrite` is not set or not all of it is a report's.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ReportError(f"{folder} is a file; name a folder for the report.")
    inside = {path.name for path in folder.iterdir()}
    if overwrite:
        inside -= _OWN
    if inside:
        raise ReportError(
            f"{folder} holds {len(inside)} files, {min(inside)} for one; name a new or an empty folder for the report."
        )
