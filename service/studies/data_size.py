"""How the held-out loss falls as the training data grow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.reports.style import BASE, FIT, TUNED, new_figure
from service.errors import SettingsError
from service.settings import Settings
from service.studies.plot import log_x, loss_y, note, save
from service.studies.point import Point, run_points, write_json
from service.studies.power_law import PowerLaw, fit
from service.studies.study import StudyReport, refuse_unfit
from service.training.spec import TrainingSpec
from training.events import Listener


@dataclass(frozen=True)
class DataSizeStudy:
    """One run for each share of the training rows, all measured by the same rows held out.

    Shares are nested: what a smaller run learns, every larger one learns too.
    """

    fractions: tuple[float, ...]
    """Rising, each above 0 and at most 1."""

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
                "--data-fractions publishes nothing: leave out --name, and publish the run you choose with "
                "lorad adapters import FOLDER --name NAME"
            )
        runs = [(f"{fraction:g} of the rows", _share(spec, fraction)) for fraction in self.fractions]
        points = list(run_points(runs, settings, listen, report, should_stop))
        return write_report(spec.output, self.fractions, points)


def _share(spec: TrainingSpec, fraction: float) -> TrainingSpec:
    return spec.model_copy(update={"data_fraction": fraction, "output": spec.output / f"fraction-{fraction:g}"})


def write_report(folder: Path, fractions: Sequence[float], points: Sequence[Point]) -> StudyReport:
    """Writes `curve.json`, `curve.png` and `report.md`."""
    rows = [_row(fraction, point) for fraction, point in zip(fractions, points, strict=True)]
    law = fit([row["train_rows"] for row in rows], [row["valid_loss"] for row in rows])
    base_loss = rows[0]["base_valid_loss"]
    content = {
        "kind": "data_size",
        "base_valid_loss": base_loss,
        "points": rows,
        "fit": None if law is None else vars(law),
    }
    write_json(folder / "curve.json", content)
    _plot(folder / "curve.png", rows, law, base_loss)
    text = _markdown(rows, law, base_loss)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return StudyReport(folder=folder, text=text, content=content)


def _row(fraction: float, point: Point) -> dict[str, Any]:
    from_start = ("train_rows", "train_tokens", "train_labelled_tokens", "valid_rows")
    from_result = ("steps", "trained_tokens", "seconds", "valid_loss", "base_valid_loss", "train_loss")
    return {
        "fraction": fraction,
        **{name: point.start[name] for name in from_start},
        **{name: point.result[name] for name in from_result},
        "folder": point.folder.name,
    }


def _plot(path: Path, rows: Sequence[dict[str, Any]], law: PowerLaw | None, base_loss: float) -> None:
    figure, (panel,) = new_figure(1, f"Held-out loss against training data ({rows[0]['valid_rows']} rows held out)")
    xs = [float(row["train_rows"]) for row in rows]
    ys = [float(row["valid_loss"]) for row in rows]
    panel.axhline(base_loss, color=BASE, linestyle="--", label=f"base, untrained: {base_loss:.3f}")
    if law is not None:
        ends = [min(xs) / 1.2, max(xs) * 1.2]
        curve = [ends[0] * (ends[1] / ends[0]) ** (step / 50) for step in range(51)]
        label = f"{law.factor:.3g} · rows^{law.exponent:.3f} (R² {law.r_squared:.2f})"
        panel.plot(curve, [law(x) for x in curve], color=FIT, linewidth=1.5, label=label)
    panel.plot(xs, ys, "o", color=TUNED, markersize=7, label="trained")
    for x, y, row in zip(xs, ys, rows, strict=True):
        note(panel, f"{row['fraction']:.0%}: {y:.3f}", (x, y))
    log_x(panel, xs)
    loss_y(panel, [base_loss, *ys])
    panel.set_xlabel("training rows (logarithmic)")
    panel.set_ylabel("held-out loss (nats per labelled token)")
    panel.legend(frameon=False, fontsize=9, loc="lower left")
    save(figure, path)


def _markdown(rows: Sequence[dict[str, Any]], law: PowerLaw | None, base_loss: float) -> str:
    lines = [
        "# Held-out loss against training data",
        "",
        f"{rows[0]['valid_rows']} rows held out, the same for every run; the base's loss on them is {base_loss:.4f}. "
        "A smaller share is part of every larger one.",
        "",
        "| share | rows | tokens | steps | held-out loss | change | training time |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['fraction']:g} | {row['train_rows']:,} | {row['train_tokens']:,} | {row['steps']} "
            f"| {row['valid_loss']:.4f} | {row['valid_loss'] / base_loss - 1:+.1%} | {row['seconds']:.0f} s |"
            for row in rows
        ),
        "",
    ]
    if law is None:
        lines.append("Too few points for a fitted curve: three different sizes are needed.")
    else:
        lines.append(
            f"Fit: loss = {law.factor:.4g} · rows^{law.exponent:.4f} (R² {law.r_squared:.3f}); by it, twice the rows "
            f"change the loss by {2**law.exponent - 1:+.1%}."
        )
    return "\n".join([*lines, "", "![held-out loss against training rows](curve.png)", ""])
