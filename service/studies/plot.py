"""What the plots of all studies have in common."""

import os
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

TUNED: Final = "#1f6feb"
BASE: Final = "#8b949e"
FIT: Final = "#d9730d"
_DPI: Final = 150
_WIDE: Final = 3.0
_SUFFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def new_figure(num_panels: int, title: str, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Panels side by side, at most `columns` in a row."""
    columns = min(columns, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(6.2 * columns, 4.2 * rows), layout="constrained")
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


def log_x(panel: Axes, xs: list[float]) -> None:
    """A logarithmic x axis with ticks that people read: 300, 1k, 3k."""
    panel.set_xscale("log")
    panel.set_xlim(min(xs) / 1.4, max(xs) * 1.4)
    panel.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: short(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())


def loss_y(panel: Axes, ys: list[float]) -> None:
    """A y axis from zero; a logarithmic one where the values span so much that small ones would lie on each other."""
    if min(ys) > 0 and max(ys) / min(ys) > _WIDE:
        panel.set_yscale("log")
        panel.set_ylim(min(ys) / 1.6, max(ys) * 1.6)
        panel.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: short(value)))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(0, max(ys) * 1.2)


def note(panel: Axes, text: str, point: tuple[float, float], *, above: bool = True) -> None:
    """A few words beside a point, readable on a line too."""
    panel.annotate(
        text,
        point,
        (0, 10 if above else -10),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def short(value: float) -> str:
    """`1.5k`, `135M`, `2e+15`."""
    if value >= 1e15:
        return f"{value:.1e}"
    for size, suffix in _SUFFIXES:
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all."""
    staged = path.with_name(f".{path.name}")
    # No date and no version in it: the same figures give the same bytes.
    figure.savefig(staged, format="png", dpi=_DPI, metadata={"Software": None})
    os.replace(staged, path)
