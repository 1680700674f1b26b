"""`lorad evaluations`: stored runs, of this home or of a running server."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.client import Client
from service.cli.console import FAILED, emit_json, out
from service.cli.options import Json, Server, settings
from service.cli.run_book import LocalRuns, RemoteRuns, RunBook

app = typer.Typer(
    help="Stored evaluations: list, show, report, follow, cancel, resume.", no_args_is_help=True, rich_markup_mode=None
)

RunId = Annotated[str, typer.Argument(help="eval-…")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="The newest so many.")]


@app.command("list")
def list_runs(limit: Limit = 20, server: Server = None, json_: Json = False) -> None:
    """List evaluations, newest first."""
    runs = open_runs(server).newest(limit)
    if json_:
        emit_json(runs)
        return
    table = Table("evaluation", "status", "cases", "models", "answers", box=None, padding=(0, 2, 0, 0))
    for run in runs:
        progress = f"{run['progress']['done']} of {run['progress']['total']}"
        cases = f"{run['suite']['name'] or '-'} ({run['suite']['num_cases']})"
        table.add_row(run["id"], run["status"], cases, ", ".join(each["model"] for each in run["models"]), progress)
    out().print(table)


@app.command("show")
def show(run_id: RunId, server: Server = None, json_: Json = False) -> None:
    """Show one evaluation: how far it is, and its metrics once it is through."""
    print_run(open_runs(server).show(run_id), json_=json_)


@app.command("report")
def report(
    run_id: RunId,
    output: Annotated[Path, typer.Option(help="Folder to write the report to, new or empty.")],
    study: Annotated[
        Path | None, typer.Option(help="Folder of a study of data sizes, whose curve is shown too; without a server.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report there.")] = False,
    server: Server = None,
) -> None:
    """Write the report of an evaluation that is through: HTML, Markdown, JSON and plots."""
    open_runs(server).report(run_id, output, study, overwrite=overwrite)
    out().print(f"{output / 'report.html'}", markup=False)


@app.command("cancel")
def cancel(run_id: RunId, server: Server = None, json_: Json = False) -> None:
    """End an evaluation; its answers stay, and it can be resumed."""
    print_run(open_runs(server).cancel(run_id), json_=json_)


@app.command("delete")
def delete(run_id: RunId, server: Server = None, json_: Json = False) -> None:
    """Remove an evaluation that has ended, with all its answers."""
    open_runs(server).delete(run_id)
    if json_:
        emit_json({"id": run_id, "deleted": True})
    else:
        out().print(f"{run_id} is gone", markup=False)


@app.command("resume")
def resume(run_id: RunId, server: Server = None, json_: Json = False) -> None:
    """Let a server go on with a partial, cancelled or failed evaluation; without one, lorad evaluate --resume does."""
    print_run(open_runs(server).resume(run_id), json_=json_)


@app.command("events")
def events(
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("--follow", help="On a server: from the first one, until it has ended.")
    ] = False,
    limit: Limit = 20,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Print what an evaluation has said, oldest first. With --follow the exit code is 1 unless it is completed."""
    runs = open_runs(server)
    for event in runs.follow(run_id) if follow else reversed(runs.events(run_id, limit)):
        if json_:
            emit_json(event, indent=None)
        else:
            out().print(event["message"], markup=False)
    if follow and runs.show(run_id)["status"] != "completed":
        raise typer.Exit(FAILED)


def open_runs(server: str | None) -> RunBook:
    """The server's where one is named, else those of `LORAD_HOME`."""
    chosen = settings(server=server)
    return RemoteRuns(Client(chosen.server, chosen.api_key)) if chosen.server else LocalRuns(chosen)


def print_run(run: dict[str, Any], *, json_: bool) -> None:
    """One run, for programs or for people."""
    if json_:
        emit_json(run)
        return
    console = out()
    console.print(f"{run['id']}  {run['status']}", markup=False)
    suite = run["suite"]
    console.print(
        f"  cases    {suite['num_cases']} of {suite['name'] or 'no name'}  {suite['digest'][:19]}", markup=False
    )
    console.print(f"  answers  {run['progress']['done']} of {run['progress']['total']}", markup=False)
    if run["error"]:
        console.print(f"  error    {run['error']}", markup=False)
    if run["results"] is None:
        console.print(f"  models   {', '.join(each['model'] for each in run['models'])}", markup=False)
    else:
        console.print(metrics_table(run["results"]))


def metrics_table(results: list[dict[str, Any]]) -> Table:
    """The metrics of each model."""
    metrics = list(dict.fromkeys(name for result in results for name in result["metrics"]))
    table = Table("model", *metrics, "tok/s", box=None, padding=(0, 2, 0, 0))
    for result in results:
        values = [result["metrics"].get(metric) for metric in metrics]
        rate = result["tokens_per_second"]
        table.add_row(
            str(result["model"]),
            *("-" if value is None else f"{value:.4f}" for value in values),
            "-" if rate is None else f"{rate:.0f}",
        )
    return table
