"""A report as Markdown, its plots as files beside it."""

import re
from collections.abc import Iterable

from evaluation.reports.blocks import Block, Paragraph, Plot, Report, Table, Texts

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def to_markdown(report: Report, *, pictures: bool = True) -> str:
    """The whole report.

    Args:
        report: what is shown.
        pictures: plots are `NAME.png` in the same folder; without, their words stand in for them.
    """
    parts = [f"# {_escaped(report.title)}"]
    for section in report.sections:
        parts += [f"## {_escaped(section.title)}", *(_block(block, pictures=pictures) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, *, pictures: bool) -> str:
    match block:
        case Paragraph(text=text):
            return _escaped(text)
        case Plot(name=name, alt=alt):
            return f"![{_escaped(alt)}]({name}.png)" if pictures else _escaped(alt)
        case Table(columns=columns, rows=rows):
            rule = ["---:" if numeric else "---" for numeric in block.numeric]
            return "\n".join(_row(row) for row in (map(_escaped, columns), rule, *(map(_escaped, row) for row in rows)))
        case Texts(title=title, question=question, answers=answers):
            parts = (*question, *answers)
            return "\n\n".join(
                [f"**{_escaped(title)}**", *(f"{_escaped(label)}:\n\n{_fenced(text)}" for label, text in parts)]
            )


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    """As a block that nothing in the text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
