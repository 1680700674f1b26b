"""A report as a folder: `report.md`, `report.html`, `report.json` and the plots as PNG."""

import json
from pathlib import Path

from evaluation.reports.blocks import Plot, Report
from evaluation.reports.folder import report_folder
from evaluation.reports.html import to_html
from evaluation.reports.markdown import to_markdown


def write_report(report: Report, folder: Path, *, overwrite: bool = False) -> None:
    """Write the whole report or nothing.

    Args:
        report: what is written.
        folder: made anew; an empty one is taken too.
        overwrite: replace an earlier report there.

    Raises:
        ReportError: the folder holds something, and `overwrite` is not set or it is no report.
        OSError: it cannot be written.
    """
    with report_folder(folder, overwrite=overwrite) as staged:
        (staged / "report.md").write_text(to_markdown(report), encoding="utf-8")
        (staged / "report.html").write_text(to_html(report), encoding="utf-8")
        (staged / "report.json").write_text(to_json(report), encoding="utf-8")
        for section in report.sections:
            for block in section.blocks:
                if isinstance(block, Plot):
                    (staged / f"{block.name}.png").write_bytes(block.png)


def to_json(report: Report) -> str:
    """The data as text."""
    return json.dumps(report.data, ensure_ascii=False, indent=1, allow_nan=False)
