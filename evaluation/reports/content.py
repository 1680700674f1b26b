"""From results to a report's blocks."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.metrics import perplexity_of
from evaluation.reports import plots
from evaluation.reports.blocks import Block, Paragraph, Plot, Report, Section, Table
from evaluation.reports.calibration import calibration
from evaluation.reports.failures import Question, findings, telling, worst
from evaluation.results import ModelResult
from evaluation.statistics.bootstrap import Interval, ratio_interval
from evaluation.statistics.comparison import case_scores
from evaluation.statistics.paired import Difference


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where results come from, as label and text."""

    title: str
    facts: tuple[tuple[str, str], ...]
    note: str | None = None
    """What a reader must know first: that the run is partial, for one."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One model held against another."""

    before: str
    after: str
    differences: tuple[Difference, ...]


def build_report(
    provenance: Provenance,
    results: Sequence[ModelResult],
    questions: Mapping[int, Question],
    compared: Sequence[Compared] = (),
    curve: Mapping[str, Any] | None = None,
) -> Report:
    """Put everything that is known together; sections without content are left out.

    Args:
        provenance: of the results.
        results: at least one, of the same cases, with them.
        questions: by the cases' index.
        compared: models held against others.
        curve: `curve.json` of a study of data sizes.
    """
    models = [result.model or "base" for result in results]
    intervals = [{metric: _interval(result, metric) for metric in result.metrics} for result in results]
    sections = [
        Section(title="Run", blocks=_run(provenance)),
        Section(title="Scores", blocks=_scores(models, results, intervals)),
        Section(title="Compared", blocks=tuple(block for each in compared for block in _compared(each))),
        Section(title="By tag", blocks=_tags(models, results)),
        Section(title="Labels", blocks=_labels(models, results)),
        Section(title="Calibration", blocks=_calibration(models, results)),
        Section(title="Loss", blocks=_some(plots.losses(results, models))),
        Section(title="Data size", blocks=() if curve is None else _some(plots.data_size(curve))),
        Section(title="What goes wrong", blocks=findings(models, results)),
        Section(title="Worst cases", blocks=worst(models, results, questions)),
    ]
    return Report(
        title=provenance.title,
        sections=tuple(section for section in sections if section.blocks),
        data=_finite(
            {
                "title": provenance.title,
                "note": provenance.note,
                "run": dict(provenance.facts),
                "results": [result.to_json() for result in results],
                "intervals": {
                    model: {metric: None if each is None else [each.low, each.high] for metric, each in found.items()}
                    for model, found in zip(models, intervals, strict=True)
                },
                "calibration": {
                    model: None if found is None else asdict(found)
                    for model, result in zip(models, results, strict=True)
                    for found in (calibration(result.cases),)
                },
                "comparisons": [asdict(each) for each in compared],
                "data_size": curve,
            }
        ),
    )


def _run(provenance: Provenance) -> tuple[Block, ...]:
    table = Table(columns=("", ""), rows=provenance.facts)
    return (table,) if provenance.note is None else (Paragraph(text=provenance.note), table)


def _scores(
    models: Sequence[str], results: Sequence[ModelResult], intervals: Sequence[Mapping[str, Interval | None]]
) -> tuple[Block, ...]:
    metrics = list(dict.fromkeys(metric for result in results for metric in result.metrics))
    found = {
        metric: [(_value(result, metric), known.get(metric)) for result, known in zip(results, intervals, strict=True)]
        for metric in metrics
    }
    rows = tuple(
        (model, *(_shown(*found[metric][at]) for metric in metrics), *_rates(result))
        for at, (model, result) in enumerate(zip(models, results, strict=True))
    )
    table = Table(columns=("model", *metrics, "tokens/s", "cases"), rows=rows)
    return (table, *_some(plots.scores(models, found)))


def _rates(result: ModelResult) -> tuple[str, str]:
    rate = result.tokens_per_second
    return ("-" if rate is None else f"{rate:.0f}", str(len(result.cases)))


def _value(result: ModelResult, metric: str) -> float:
    return result.metrics.get(metric, math.nan)


def _interval(result: ModelResult, metric: str) -> Interval | None:
    """Of a mean over cases or tokens; a metric of the whole set has none."""
    scores = case_scores(result.cases, metric)
    if len(scores.values) < 2:
        return None
    weights = [scores.weights.get(index, 1.0) for index in scores.values]
    interval = ratio_interval(
        [value * weight for value, weight in zip(scores.values.values(), weights, strict=True)], weights
    )
    if metric == "perplexity":
        interval = Interval(perplexity_of(interval.low), perplexity_of(interval.high))
    # Corpus BLEU, for one, is not the mean of the cases'.
    return interval if interval.low - 1e-9 <= _value(result, metric) <= interval.high + 1e-9 else None


def _shown(value: float, interval: Interval | None) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if interval is None else f"{value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _compared(each: Compared) -> tuple[Block, ...]:
    rows = tuple(
        (
            difference.metric, f"{difference.before:.4f}", f"{difference.after:.4f}", f"{difference.delta:+.4f}",
            f"[{difference.interval.low:+.4f}, {difference.interval.high:+.4f}]", f"{difference.p_adjusted:.3g}",
            difference.test, str(difference.num_cases), difference.verdict,
        )
        for difference in each.differences
    )  # fmt: skip
    columns = ("metric", each.before, each.after, "change", "95% interval", "p (Holm)", "test", "cases", "verdict")
    words = f"{each.after} against {each.before}. A change that may be chance is called noise."
    return (Paragraph(text=words), Table(columns=columns, rows=rows))


def _tags(models: Sequence[str], results: Sequence[ModelResult]) -> tuple[Block, ...]:
    tags = list(dict.fromkeys(tag for result in results for tag in result.tags))
    if not tags:
        return ()
    metrics = list(dict.fromkeys(metric for result in results for metric in result.metrics))
    rows = tuple(
        (tag, model, *(f"{found[metric]:.4f}" if metric in found else "-" for metric in metrics))
        for tag in tags
        for model, result in zip(models, results, strict=True)
        if (found := result.tags.get(tag)) is not None
    )
    metric = telling(results)
    values = {tag: [result.tags.get(tag, {}).get(metric, math.nan) for result in results] for tag in tags}
    return (Table(columns=("tag", "model", *metrics), rows=rows), *_some(plots.by_tag(models, metric, values)))


def _labels(models: Sequence[str], results: Sequence[ModelResult]) -> tuple[Block, ...]:
    known = [(model, result.confusion) for model, result in zip(models, results, strict=True) if result.confusion]
    if not known:
        return ()
    rows = []
    for model, table in known:
        wrong = Counter(
            {
                (right, said): count
                for right, row in zip(table.labels, table.counts, strict=True)
                for said, count in zip(table.predicted, row, strict=True)
                if right != said and count
            }
        )
        rows += [(model, right, said, str(count)) for (right, said), count in wrong.most_common(10)]
    blocks = _some(plots.confusion([model for model, _ in known], [table for _, table in known]))
    return (*blocks, Table(columns=("model", "right", "answered", "cases"), rows=tuple(rows))) if rows else blocks


def _calibration(models: Sequence[str], results: Sequence[ModelResult]) -> tuple[Block, ...]:
    known = [
        (model, found)
        for model, result in zip(models, results, strict=True)
        if (found := calibration(result.cases)) is not None
    ]
    if not known:
        return ()
    rows = tuple(
        (model, f"{found.error:.4f}", str(sum(each.num_cases for each in found.bins))) for model, found in known
    )
    table = Table(columns=("model", "expected calibration error", "cases"), rows=rows)
    return (table, *_some(plots.calibration([model for model, _ in known], [found for _, found in known])))


def _some(plot: Plot | None) -> tuple[Plot, ...]:
    return () if plot is None else (plot,)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
