"""A report on the terminal: the same order and words, without the pictures."""

import re
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from evaluation.reports.blocks import Block, Paragraph, Plot, Report, Table, Texts

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render(report: Report) -> RenderableType:
    """What rich prints; texts of models and people are taken literally."""
    parts: list[RenderableType] = [_literal(report.title, "bold")]
    for section in report.sections:
        blocks = [shown for block in section.blocks if (shown := _block(block)) is not None]
        if blocks:
            parts += [Text(f"\n{section.title}", style="bold"), *blocks]
    return Group(*parts)


def _block(block: Block) -> RenderableType | None:
    match block:
        case Paragraph(text=text):
            return _literal(text, "dim")
        case Plot():
            return None
        case Table(columns=columns, rows=rows):
            table = RichTable(box=None, padding=(0, 2, 0, 0), show_header=any(columns))
            for at, name in enumerate(columns):
                table.add_column(_literal(name), justify="right" if block.numeric[at] else "left")
            for row in rows:
                table.add_row(*map(_literal, row))
            return table
        case Texts(title=title, question=question, answers=answers):
            lines = [
                Padding(Text.assemble((f"{label}: ", "dim"), _literal(text)), (0, 0, 0, 2))
                for label, text in (*question, *answers)
            ]
            return Group(_literal(title), *lines)


def _literal(text: str, style: str = "") -> Text:
    """A model's escape sequences would move the cursor or name the window."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), style=style)
