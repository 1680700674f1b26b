"""What a larger base gains: bits per byte against its size and against the compute spent on training."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from evaluation.reports.style import BASE, FIT, TUNED, new_figure
from service.errors import SettingsError
from service.settings import Settings
from service.studies.plot import log_x, loss_y, note, save, short
from service.studies.point import Point, run_points, write_json
from service.studies.power_law import PowerLaw, fit
from service.studies.study import StudyReport, refuse_unfit
from service.training.spec import TrainingSpec
from training.events import Listener

_FLOP_PER_WEIGHT_AND_TOKEN = 4
"""2 forward and 2 backward through the activations: a frozen weight has no gradient of its own (arXiv 2001.08361, 2.1,
counts 6 where it has)."""


@dataclass(frozen=True)
class BaseSizeStudy:
    """One run for each base, with the same rows and settings."""

    bases: tuple[str, ...]
    """Catalogue names, folders or hub ids."""

    def run(
        self,
        spec: TrainingSpec,
        settings: Settings,
        listen: Listener,
        report: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> StudyReport:
        """See `Study`."""
        refuse_unfit(spec)
        if spec.name is not None:
            raise SettingsError(
                "--bases publishes nothing: an adapter's versions are all for one base; leave out --name"
            )
        runs = [
            (base, spec.model_copy(update={"base_model": base, "output": spec.output / folder_of(base)}))
            for base in self.bases
        ]
        points = []
        for point in run_points(runs, settings, listen, report, should_stop):
            _refuse_incomparable(point)
            points.append(point)
        return write_report(spec.output, points)


def folder_of(base: str) -> str:
    """The sub-folder of a base's run."""
    return "base-" + re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.")


def _refuse_incomparable(point: Point) -> None:
    if point.result["valid_bits_per_byte"] is None:
        raise SettingsError(
            f"with {point.label} some held-out rows were cut off or refused, so its bits per byte are of other text "
            "than another base's; raise --max-length, or shorten the rows"
        )


def write_report(folder: Path, points: Sequence[Point]) -> StudyReport:
    """Writes `curve.json`, `curve.png` and `report.md`."""
    rows = sorted((_row(point) for point in points), key=lambda row: float(row["parameters"]))
    law = fit([row["parameters"] for row in rows], [row["bits_per_byte"] for row in rows])
    content = {"kind": "base_size", "points": rows, "fit": None if law is None else vars(law)}
    write_json(folder / "curve.json", content)
    _plot(folder / "curve.png", rows, law)
    text = _markdown(rows, law)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return StudyReport(folder=folder, text=text, content=content)


def _row(point: Point) -> dict[str, Any]:
    parameters, tokens = int(point.start["total_parameters"]), int(point.result["trained_tokens"])
    return {
        "base": point.label,
        "parameters": parameters,
        "trained_tokens": tokens,
        "train_flop": _FLOP_PER_WEIGHT_AND_TOKEN * parameters * tokens,
        "seconds": point.result["seconds"],
        "bits_per_byte": point.result["valid_bits_per_byte"],
        "base_bits_per_byte": point.result["base_bits_per_byte"],
        "valid_loss": point.result["valid_loss"],
        "base_valid_loss": point.result["base_valid_loss"],
        "folder": point.folder.name,
    }


def _plot(path: Path, rows: Sequence[dict[str, Any]], law: PowerLaw | None) -> None:
    figure, (by_size, by_compute) = new_figure(2, "Held-out bits per byte, base against trained adapter")
    sizes = [float(row["parameters"]) for row in rows]
    if law is not None:
        curve = [sizes[0] * (sizes[-1] / sizes[0]) ** (step / 50) for step in range(51)]
        label = f"{law.factor:.3g} · weights^{law.exponent:.3f} (R² {law.r_squared:.2f})"
        by_size.plot(curve, [law(x) for x in curve], color=FIT, linewidth=1.5, label=label)
    _points(by_size, rows, sizes)
    by_size.set_xlabel("weights of the base (logarithmic)")
    _points(by_compute, rows, [float(row["train_flop"]) for row in rows])
    by_compute.set_xlabel("compute of the training (FLOP, logarithmic)")
    save(figure, path)


def _points(panel: Axes, rows: Sequence[dict[str, Any]], xs: list[float]) -> None:
    tuned = [float(row["bits_per_byte"]) for row in rows]
    untrained = [float(row["base_bits_per_byte"]) for row in rows]
    panel.plot(xs, untrained, "o", markerfacecolor="white", color=BASE, markersize=7, label="base, untrained")
    panel.plot(xs, tuned, "o", color=TUNED, markersize=7, label="trained")
    for x, high, low, row in zip(xs, untrained, tuned, rows, strict=True):
        panel.annotate(
            "", (x, low), (x, high), arrowprops={"arrowstyle": "->", "color": BASE, "shrinkA": 5, "shrinkB": 5}
        )
        note(panel, f"{Path(str(row['base'])).name}: {low:.3f}", (x, low), above=False)
    log_x(panel, xs)
    loss_y(panel, [*untrained, *tuned])
    panel.set_ylabel("held-out bits per byte of answer")
    panel.legend(frameon=False, fontsize=9)


def _markdown(rows: Sequence[dict[str, Any]], law: PowerLaw | None) -> str:
    lines = [
        "# Held-out bits per byte against base size and compute",
        "",
        "Bits for each UTF-8 byte of the held-out answers, so that bases of other tokenizers can be compared. Compute "
        f"is {_FLOP_PER_WEIGHT_AND_TOKEN} FLOP for each weight and trained token (the base is frozen).",
        "",
        "| base | weights | trained tokens | training FLOP | bits per byte, base | trained | change | training time |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['base']} | {short(row['parameters'])} | {row['trained_tokens']:,} | {row['train_flop']:.2e} "
            f"| {row['base_bits_per_byte']:.4f} | {row['bits_per_byte']:.4f} "
            f"| {row['bits_per_byte'] / row['base_bits_per_byte'] - 1:+.1%} | {row['seconds']:.0f} s |"
            for row in rows
        ),
        "",
    ]
    if law is not None:
        lines += [f"Fit: bits per byte = {law.factor:.4g} · weights^{law.exponent:.4f} (R² {law.r_squared:.3f}).", ""]
    return "\n".join([*lines, "![held-out bits per byte against base size and compute](curve.png)", ""])
