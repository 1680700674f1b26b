"""What all plots have in common."""

import io
import re
import threading
from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TUNED: Final = "#1f6feb"
BASE: Final = "#8b949e"
FIT: Final = "#d9730d"
_MORE: Final = ("#2da44e", "#8250df", "#bf3989", "#0f766e", "#9a6700", "#57606a")
DPI: Final = 150
_SETTINGS: Final = threading.Lock()
"""matplotlib's settings are the process's."""
_NUMBERED: Final = re.compile(r' id="[A-Za-z]+[0-9.]*_\d+"')


def colours(num: int) -> list[str]:
    """One for each model; the first is that of what others are compared with."""
    palette = (BASE, TUNED, FIT, *_MORE)
    return [palette[at % len(palette)] for at in range(num)]


def new_figure(num_panels: int, title: str, columns: int = 2, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """Panels side by side, at most `columns` in a row, each `height` inches high."""
    columns = min(columns, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(6.2 * columns, height * rows), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for spare in panels[num_panels:]:
        spare.remove()
    for panel in panels[:num_panels]:
        panel.grid(visible=True, which="major", color="#e5e7eb", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels[:num_panels]


def svg_of(figure: Figure) -> str:
    """The picture without date and random ids: the same figures give the same text."""
    out = io.StringIO()
    with _SETTINGS, mpl.rc_context({"svg.hashsalt": "lorad", "svg.fonttype": "none"}):
        # Transparent: a dark page shows through.
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    # Every figure numbers its parts from 1, and ids must be of one element in a page.
    return _NUMBERED.sub("", text[text.index("<svg") :])


def png_of(figure: Figure) -> bytes:
    """The picture without date and version."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def clipped(names: Sequence[str], length: int = 28) -> list[str]:
    """Names that fit beside an axis, and that matplotlib does not take for mathematics."""
    return [(name if len(name) <= length else f"{name[: length - 1]}…").replace("$", r"\$") for name in names]
