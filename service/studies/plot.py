"""What the plots of all studies have in common, beside the style of every plot."""

import os
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from evaluation.reports.style import DPI

_WIDE: Final = 3.0
_SUFFIXES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


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
    figure.savefig(staged, format="png", dpi=DPI, metadata={"Software": None})
    os.replace(staged, path)
