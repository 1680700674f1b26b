"""The pictures of a report. Each function gives None where there is nothing to draw."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.metrics import LOWER_IS_BETTER
from evaluation.reports.blocks import Plot
from evaluation.reports.calibration import Calibration
from evaluation.reports.style import clipped, colours, new_figure, png_of, svg_of
from evaluation.results import Confusion, ModelResult
from evaluation.statistics.bootstrap import Interval

_MAX_TAGS = 20
_MAX_LABELS = 30
_CELLS_WITH_NUMBERS = 12


def scores(models: Sequence[str], values: Mapping[str, Sequence[tuple[float, Interval | None]]]) -> Plot | None:
    """One panel a metric, one dot a model, with its interval."""
    drawn = {metric: found for metric, found in values.items() if any(math.isfinite(value) for value, _ in found)}
    if not drawn:
        return None
    figure, panels = new_figure(len(drawn), "Scores with 95% intervals", columns=1, height=0.9 + 0.34 * len(models))
    for panel, (metric, found) in zip(panels, drawn.items(), strict=True):
        for at, ((value, interval), colour) in enumerate(zip(found, colours(len(models)), strict=True)):
            if not math.isfinite(value):
                continue
            if interval is not None:
                panel.plot([interval.low, interval.high], [at, at], color=colour, linewidth=2.4, alpha=0.55)
            panel.plot([value], [at], "o", color=colour)
            panel.annotate(f"{value:.3g}", (value, at), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        panel.set_yticks(range(len(models)), clipped(models))
        panel.set_ylim(len(models) - 0.4, -0.8)
        _whole_scale(panel, metric, [value for value, _ in found])
        panel.set_title(metric, fontsize=10)
    return _plot("scores", f"Scores of {_names(models)} by metric, each with its 95% interval.", figure)


def by_tag(models: Sequence[str], metric: str, values: Mapping[str, Sequence[float]]) -> Plot | None:
    """One row a tag, one dot a model."""
    shown = dict(list(values.items())[:_MAX_TAGS])
    if not shown:
        return None
    figure, (panel,) = new_figure(1, f"{metric} by tag", height=1.4 + 0.3 * len(shown))
    for at, (model, colour) in enumerate(zip(models, colours(len(models)), strict=True)):
        # Models of one value beside each other, not on each other.
        lift = (at - (len(models) - 1) / 2) * min(0.18, 0.7 / len(models))
        points = [(found[at], row + lift) for row, found in enumerate(shown.values()) if math.isfinite(found[at])]
        panel.plot([x for x, _ in points], [y for _, y in points], "o", color=colour, label=clipped([model])[0])
    panel.set_yticks(range(len(shown)), clipped(list(shown)))
    panel.set_ylim(len(shown) - 0.5, -0.5)
    _whole_scale(panel, metric, [value for found in shown.values() for value in found])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _plot("tags", f"{metric} of {_names(models)} by tag.", figure)


def confusion(models: Sequence[str], tables: Sequence[Confusion]) -> Plot | None:
    """One matrix a model; with many labels the ones confused most."""
    if not tables:
        return None
    figure, panels = new_figure(len(tables), "Right label (rows) and answer (columns)", height=5.2)
    for panel, model, whole in zip(panels, models, tables, strict=True):
        table = _busiest(whole)
        panel.grid(visible=False)
        # Vectors, not a bitmap: the page may load no picture.
        panel.pcolormesh(
            [[math.sqrt(count) for count in row] for row in table.counts], cmap="Blues", edgecolors="white", linewidth=1
        )
        panel.invert_yaxis()
        panel.set_xticks(
            _centres(table.predicted),
            clipped(table.predicted, 16),
            rotation=60,
            ha="right",
            fontsize=_small(table.predicted),
        )
        panel.set_yticks(_centres(table.labels), clipped(table.labels, 16), fontsize=_small(table.labels))
        most = max((count for row in table.counts for count in row), default=0)
        if len(table.predicted) <= _CELLS_WITH_NUMBERS:
            for y, row in enumerate(table.counts):
                for x, count in enumerate(row):
                    colour = "white" if count > most / 3 else "#374151"
                    panel.text(x + 0.5, y + 0.5, str(count), ha="center", va="center", fontsize=8, color=colour)
        panel.set_title(clipped([model])[0], fontsize=10)
    return _plot("confusion", f"Confusion matrices of {_names(models)}.", figure)


def calibration(models: Sequence[str], found: Sequence[Calibration]) -> Plot | None:
    """How often a model is right at each confidence."""
    if not found:
        return None
    figure, (panel,) = new_figure(1, "Calibration")
    panel.plot([0, 1], [0, 1], "--", color="#d0d7de", linewidth=1)
    for model, each, colour in zip(models, found, colours(len(models)), strict=True):
        label = f"{clipped([model])[0]} (ECE {each.error:.3f})"
        panel.plot(
            [bin_.confidence for bin_ in each.bins],
            [bin_.accuracy for bin_ in each.bins],
            "o-",
            color=colour,
            label=label,
        )
    panel.set_xlabel("confidence in the choice")
    panel.set_ylabel("share that is right")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    errors = ", ".join(f"{model} {each.error:.3f}" for model, each in zip(models, found, strict=True))
    return _plot("calibration", f"Share of right answers by confidence; expected calibration error: {errors}.", figure)


def losses(results: Sequence[ModelResult], models: Sequence[str]) -> Plot | None:
    """How the cases' losses are spread; one that is no finite number has no place there."""
    known = [
        [case.loss for case in result.cases if case.loss is not None and math.isfinite(case.loss)] for result in results
    ]
    if not any(known):
        return None
    figure, (panel,) = new_figure(1, "Loss of each case")
    top = max(max(values, default=0.0) for values in known) or 1.0
    for values, model, colour in zip(known, models, colours(len(models)), strict=True):
        if values:
            panel.hist(
                values, bins=40, range=(0, top), histtype="step", linewidth=1.6, color=colour, label=clipped([model])[0]
            )
    panel.set_xlabel("nats per labelled token")
    panel.set_ylabel("cases")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _plot("losses", f"How the losses of the cases are spread, for {_names(models)}.", figure)


def data_size(curve: Mapping[str, Any]) -> Plot | None:
    """A study's held-out loss against the rows it was trained on."""
    points = [(point["train_rows"], point["valid_loss"]) for point in curve.get("points", ())]
    if not points:
        return None
    figure, (panel,) = new_figure(1, "Held-out loss against training rows")
    panel.plot([rows for rows, _ in points], [loss for _, loss in points], "o-", color=colours(2)[1])
    panel.set_xscale("log")
    panel.set_xticks([rows for rows, _ in points], [f"{rows:,}" for rows, _ in points])
    panel.minorticks_off()
    panel.set_xlabel("training rows (logarithmic)")
    panel.set_ylabel("nats per labelled token")
    told = ", ".join(f"{loss:.4f} with {rows} rows" for rows, loss in points)
    return _plot("data-size", f"Held-out loss: {told}.", figure)


def _busiest(table: Confusion) -> Confusion:
    if len(table.labels) <= _MAX_LABELS:
        return table
    wrong = [sum(row) - row[at] for at, row in enumerate(table.counts)]
    kept = sorted(sorted(range(len(table.labels)), key=lambda at: -wrong[at])[:_MAX_LABELS])
    columns = [*kept, len(table.predicted) - 1]
    return Confusion(
        labels=tuple(table.labels[at] for at in kept),
        predicted=tuple(table.predicted[at] for at in columns),
        counts=tuple(tuple(table.counts[row][at] for at in columns) for row in kept),
    )


def _whole_scale(panel: Axes, metric: str, values: Sequence[float]) -> None:
    """From 0 to 1 for shares: a small difference should look small."""
    if metric not in LOWER_IS_BETTER and all(0 <= value <= 1 for value in values if math.isfinite(value)):
        panel.set_xlim(-0.03, 1.03)


def _small(labels: Sequence[str]) -> int:
    return 9 if len(labels) <= _CELLS_WITH_NUMBERS else 7


def _centres(labels: Sequence[str]) -> list[float]:
    return [at + 0.5 for at in range(len(labels))]


def _plot(name: str, alt: str, figure: Figure) -> Plot:
    return Plot(name=name, alt=alt, svg=svg_of(figure), png=png_of(figure))


def _names(models: Sequence[str]) -> str:
    return models[0] if len(models) == 1 else f"{', '.join(models[:-1])} and {models[-1]}"
