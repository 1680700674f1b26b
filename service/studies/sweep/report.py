"""What a sweep found: a table of its trials, and a plot of each setting against the loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from evaluation.reports.style import BASE, FIT, TUNED, new_figure
from service.studies.plot import log_x, loss_y, save
from service.studies.point import write_json
from service.studies.study import StudyReport

_MAX_PANELS = 5
_MAX_CATEGORIES = 8
_WIDE = 8.0


def write_report(
    folder: Path, trials: Sequence[FrozenTrial], best: FrozenTrial | None, version: str | None
) -> StudyReport:
    """Writes `sweep.json`, `sweep.png` and `report.md`."""
    rows = [_row(trial) for trial in trials]
    base_losses = [trial.user_attrs["base_valid_loss"] for trial in trials if "base_valid_loss" in trial.user_attrs]
    content = {
        "kind": "sweep",
        "base_valid_loss": base_losses[0] if base_losses else None,
        "best": None if best is None else _row(best),
        "version": version,
        "trials": rows,
    }
    write_json(folder / "sweep.json", content)
    _plot(folder / "sweep.png", rows, content)
    text = _markdown(rows, content)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return StudyReport(folder=folder, text=text, content=content)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial that was given up has the last held-out loss it reached."""
    reached = trial.intermediate_values
    last = reached[max(reached)] if reached else None
    return {
        "trial": trial.number,
        "state": {TrialState.COMPLETE: "finished", TrialState.PRUNED: "given up"}.get(trial.state, "diverged"),
        "valid_loss": trial.values[0] if trial.state == TrialState.COMPLETE else last,
        "steps": max(reached) if reached else None,
        "params": dict(trial.params),
        "folder": trial.user_attrs.get("folder"),
        "error": trial.user_attrs.get("error"),
    }


def _plot(path: Path, rows: Sequence[dict[str, Any]], content: dict[str, Any]) -> None:
    measured = [row for row in rows if row["valid_loss"] is not None]
    names = [
        name for name in (rows[0]["params"] if rows else {}) if len({str(row["params"][name]) for row in rows}) > 1
    ]
    figure, panels = new_figure(1 + len(names[:_MAX_PANELS]), f"Sweep of {len(rows)} trials", columns=3)
    if not measured:
        # Every trial diverged before its first evaluation.
        save(figure, path)
        return
    _history(panels[0], measured, content["base_valid_loss"])
    for panel, name in zip(panels[1:], names, strict=False):
        _against(panel, measured, name)
    save(figure, path)


def _history(panel: Axes, rows: Sequence[dict[str, Any]], base_loss: float | None) -> None:
    _dots(panel, rows, [float(row["trial"]) for row in rows])
    best = float("inf")
    steps = [(row["trial"], best := min(best, row["valid_loss"])) for row in rows if row["state"] == "finished"]
    if steps:
        xs, ys = zip(*[*steps, (rows[-1]["trial"], best)], strict=True)
        panel.step(xs, ys, where="post", color=FIT, label="best so far")
    if base_loss is not None:
        panel.axhline(base_loss, color=BASE, linestyle="--", label=f"base, untrained: {base_loss:.3f}")
    loss_y(panel, [*(row["valid_loss"] for row in rows), *([] if base_loss is None else [base_loss])])
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("trial")
    panel.set_ylabel("held-out loss (nats per labelled token)")
    panel.legend(frameon=False, fontsize=8)


def _against(panel: Axes, rows: Sequence[dict[str, Any]], name: str) -> None:
    values = [row["params"][name] for row in rows]
    distinct = sorted({*values}, key=lambda value: (value is None, isinstance(value, str), value))
    if len(distinct) <= _MAX_CATEGORIES and not any(isinstance(value, float) for value in values):
        xs = [float(distinct.index(value)) for value in values]
        panel.set_xticks(range(len(distinct)), [str(value) for value in distinct])
        panel.set_xlim(-0.5, len(distinct) - 0.5)
    else:
        xs = [float(value) for value in values]
        if min(xs) > 0 and max(xs) / min(xs) >= _WIDE:
            log_x(panel, xs)
    _dots(panel, rows, xs)
    loss_y(panel, [row["valid_loss"] for row in rows])
    panel.set_xlabel(name.replace("_", " "))
    panel.set_ylabel("held-out loss (nats per labelled token)")


def _dots(panel: Axes, rows: Sequence[dict[str, Any]], xs: Sequence[float]) -> None:
    for state, marker, colour in (("finished", "o", TUNED), ("given up", "x", BASE), ("diverged", "v", FIT)):
        chosen = [at for at, row in enumerate(rows) if row["state"] == state]
        if chosen:
            ys = [rows[at]["valid_loss"] for at in chosen]
            panel.plot([xs[at] for at in chosen], ys, marker, color=colour, markersize=6, label=state)


def _markdown(rows: Sequence[dict[str, Any]], content: dict[str, Any]) -> str:
    names = list(rows[0]["params"]) if rows else []
    best = content["best"]
    ranked = sorted(rows, key=lambda row: (row["state"] != "finished", row["valid_loss"] or float("inf")))
    lines = [
        "# Sweep",
        "",
        f"{len(rows)} trials, best first; the base's held-out loss is {_number(content['base_valid_loss'])}.",
        "",
        f"| trial | {' | '.join(names)} | held-out loss | ended |",
        f"| ---: | {' | '.join('---:' for _ in names)} | ---: | --- |",
        *(
            f"| {row['trial']} | {' | '.join(_number(row['params'][name]) for name in names)} "
            f"| {_number(row['valid_loss'])} | {_ended(row)} |"
            for row in ranked
        ),
        "",
    ]
    if best is None:
        lines.append("No trial came to its end.")
    else:
        published = f", published as {content['version']}" if content["version"] else ""
        lines.append(f"Best: trial {best['trial']}, in `best` (trials/{best['folder']}){published}.")
    return "\n".join([*lines, "", "![trials and settings](sweep.png)", ""])


def _ended(row: dict[str, Any]) -> str:
    return f"given up at step {row['steps']}" if row["state"] == "given up" else str(row["state"])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
