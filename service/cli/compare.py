"""`lorad compare`: is one model better than another, by more than chance?"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from corpus.columns import ColumnMapping
from service.cli.case_sources import CaseSource, SuiteOption, read_cases
from service.cli.console import emit_json, out, say
from service.cli.evaluate import DATA_MAX_TOKENS, Data, MaxRows, MaxTokens, Metrics, scorer_specs
from service.cli.evaluations import open_runs
from service.cli.generate import BASE
from service.cli.measuring import Asked, measure
from service.cli.options import BaseModelName, Device, DType, Json, Quantization, Server, SkipBad, settings

_RUN = "eval-"
_OPERATOR = "operator"
"""As the judge: the model behind LORAD_JUDGE_URL."""


def compare(
    before: Annotated[str, typer.Argument(help="A model ('base' or an adapter), or a stored evaluation: eval-…")],
    after: Annotated[str, typer.Argument(help="The one that may be better: another of the same kind.")],
    suite: SuiteOption = None,
    data: Data = None,
    metrics: Metrics = None,
    max_tokens: MaxTokens = None,
    max_rows: MaxRows = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    skip_bad: SkipBad = False,
    judge: Annotated[
        str | None,
        typer.Option(help="Let this model choose between the answers, in both orders: an adapter, or 'operator'."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder to write the report of two models to.")] = None,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Compare two models on a suite or file, or two stored evaluations of the same cases.

    For each metric the gain, its 95% interval, the p-value and a verdict; a gain that may be chance is called noise.
    """
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    if before.startswith(_RUN) and after.startswith(_RUN):
        if suite is not None or data is not None:
            raise typer.BadParameter("stored evaluations have their cases; leave --suite and --data out")
        runs = before, after
    else:
        source = CaseSource(
            data=data, suite=suite, columns=ColumnMapping(), skip_bad=skip_bad, max_rows=max_rows, seed=seed
        )
        asked = Asked(
            models=tuple(None if name == BASE else name for name in (before, after)),
            cases=read_cases(source, chosen),
            scorers=scorer_specs(metrics),
            max_tokens=max_tokens or (DATA_MAX_TOKENS if data else None),
            report=report,
        )
        run = measure(chosen, asked)
        say(f"{run['id']} is {run['status']}")
        runs = run["id"], run["id"]
    book = open_runs(chosen.server)
    comparisons = book.compare(*runs)
    preferences = [] if judge is None else book.judge(*runs, None if judge == _OPERATOR else judge)
    if json_:
        emit_json(comparisons if judge is None else [*comparisons, *preferences])
        return
    for comparison in comparisons:
        _print(comparison)
    for preference in preferences:
        out().print(_preferred(preference), markup=False)


def _print(comparison: dict[str, Any]) -> None:
    before, after = comparison["before"]["model"], comparison["after"]["model"]
    table = Table("metric", before, after, "gain", "95% interval", "p", "verdict", box=None, padding=(0, 2, 0, 0))
    for each in comparison["differences"]:
        interval = f"{_signed(each['low'])} to {_signed(each['high'])}"
        table.add_row(
            each["metric"],
            _figure(each["before"]),
            _figure(each["after"]),
            _signed(each["delta"]),
            interval,
            f"{each['p_adjusted']:.3g}",
            each["verdict"],
        )
    out().print(table)
    out().print(_sentence(before, after, comparison["differences"]), markup=False)


def _preferred(found: dict[str, Any]) -> str:
    before, after = found["before"]["model"], found["after"]["model"]
    said = (
        f"{found['judge']} prefers {after} in {found['after_wins']} of {found['num_cases']} cases, {before} in "
        f"{found['before_wins']}; {found['ties']} are ties, {found['unreadable']} cannot be read"
    )
    agreement = "-" if found["agreement"] is None else f"{found['agreement']:.0%}"
    verdict = {"noise": "which is noise", "better": f"{after} is better", "worse": f"{after} is worse"}
    return f"{said}. Both orders agree in {agreement}; p {found['p_value']:.3g}: {verdict[found['verdict']]}."


def _sentence(before: str, after: str, differences: list[dict[str, Any]]) -> str:
    named = {verdict: [each["metric"] for each in differences if each["verdict"] == verdict] for verdict in _VERDICTS}
    said = [
        f"{verdict} in {', '.join(metrics)}" for verdict, metrics in named.items() if metrics and verdict != "noise"
    ]
    if not said:
        cases = max((each["num_cases"] for each in differences), default=0)
        return f"{after} is not shown to differ from {before}: on these {cases} cases every difference is noise."
    rest = f"; the rest is noise: {', '.join(named['noise'])}" if named["noise"] else ""
    return f"{after} is {' and '.join(said)} than {before}{rest}."


_VERDICTS = ("better", "worse", "noise")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
