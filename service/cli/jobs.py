"""`lorad jobs`: finetuning on a running server, and what it says meanwhile."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from service.cli.client import Client
from service.cli.console import FAILED, duration, emit_json, out, say
from service.cli.options import Json, Server
from service.cli.running_server import running_server

app = typer.Typer(
    help="Finetune on a running server (--server or LORAD_SERVER).", no_args_is_help=True, rich_markup_mode=None
)

JobId = Annotated[str, typer.Argument(help="ftjob-…")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="The newest so many.")]
_JOBS = "/v1/fine_tuning/jobs"
_FILE_ID = "file-"


@app.command("create")
def create(
    data: Annotated[list[str], typer.Option("--data", help="A file, which is sent, or the id of one; repeatable.")],
    validation: Annotated[str | None, typer.Option(help="Rows to measure by: a file or its id.")] = None,
    model: Annotated[str | None, typer.Option(help="The server's base, which is the default.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Name of the adapter; default the job's id.")] = None,
    method: Annotated[Literal["supervised", "dpo"], typer.Option(help="Learn answers, or preferences.")] = "supervised",
    epochs: Annotated[int | None, typer.Option(min=1, max=50, help="Passes over the rows; default auto.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=256, help="Rows of a step; default auto.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same adapter.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher runs first.")] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE of any training setting: rank=8, learning_rate=2e-4; repeatable."),
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="An alias with a gate, which decides on the finished adapter.")
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, kept with the job; repeatable.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its events until it has ended.")] = False,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Send files and put a job over them into the queue."""
    client = _client(server)
    hyperparameters = {"n_epochs": epochs, "batch_size": batch_size}
    given = {name: value for name, value in hyperparameters.items() if value is not None}
    files = [_file_id(client, each) for each in data]
    body = {
        "model": model or client.call("GET", "/v1/models")["data"][0]["id"],
        "validation_file": None if validation is None else _file_id(client, validation),
        "suffix": suffix,
        "gate": gate,
        "seed": seed,
        "priority": priority,
        "method": {"type": method, method: {"hyperparameters": given}},
        "lora": {key: _value(value) for key, value in _pairs("--lora", lora)} or None,
        "metadata": dict(_pairs("--metadata", metadata)) or None,
        **({"training_file": files[0]} if len(files) == 1 else {"training_files": [{"file": each} for each in files]}),
    }
    job = client.call("POST", _JOBS, json={name: value for name, value in body.items() if value is not None})
    if follow:
        say(f"{job['id']} is {job['status']}")
        _follow(client, job["id"], json_=json_)
    else:
        _print(job, json_=json_)


@app.command("list")
def list_jobs(limit: Limit = 20, server: Server = None, json_: Json = False) -> None:
    """List jobs, newest first."""
    jobs = _client(server).call("GET", _JOBS, params={"limit": limit})["data"]
    if json_:
        emit_json(jobs)
        return
    table = Table("job", "status", "model", "progress", "gives", box=None, padding=(0, 2, 0, 0))
    for job in jobs:
        table.add_row(job["id"], job["status"], job["model"], _progress(job), job["fine_tuned_model"] or "")
    out().print(table)


@app.command("show")
def show(job_id: JobId, server: Server = None, json_: Json = False) -> None:
    """Show one job: where it is in the queue, how far it is, what it gave or why it failed."""
    _print(_client(server).call("GET", f"{_JOBS}/{job_id}"), json_=json_)


@app.command("cancel")
def cancel(job_id: JobId, server: Server = None, json_: Json = False) -> None:
    """End a job for good."""
    _act(job_id, "cancel", server, json_=json_)


@app.command("pause")
def pause(job_id: JobId, server: Server = None, json_: Json = False) -> None:
    """Stop a job at a checkpoint, from which it can go on."""
    _act(job_id, "pause", server, json_=json_)


@app.command("resume")
def resume(job_id: JobId, server: Server = None, json_: Json = False) -> None:
    """Put a paused job back into the queue."""
    _act(job_id, "resume", server, json_=json_)


@app.command("events")
def events(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="From the first one, until the job has ended.")] = False,
    limit: Limit = 20,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Print what a job has said, oldest first. With --follow the exit code is 1 unless the job succeeds."""
    client = _client(server)
    if follow:
        _follow(client, job_id, json_=json_)
        return
    found = client.call("GET", f"{_JOBS}/{job_id}/events", params={"limit": limit})["data"]
    for event in reversed(found):
        _print_event(event, json_=json_)


@app.command("checkpoints")
def checkpoints(job_id: JobId, limit: Limit = 20, server: Server = None, json_: Json = False) -> None:
    """List a job's checkpoints, newest first; each can be prompted by its name."""
    found = _client(server).call("GET", f"{_JOBS}/{job_id}/checkpoints", params={"limit": limit})["data"]
    if json_:
        emit_json(found)
        return
    table = Table("step", "model", "train loss", "validation loss", box=None, padding=(0, 2, 0, 0))
    for each in found:
        metrics = each["metrics"]
        losses = [_figure(metrics.get(name)) for name in ("train_loss", "valid_loss")]
        table.add_row(str(each["step_number"]), each["fine_tuned_model_checkpoint"], *losses)
    out().print(table)


def _client(server: str | None) -> Client:
    return running_server(server, "jobs run")


def _file_id(client: Client, named: str) -> str:
    path = Path(named)
    if named.startswith(_FILE_ID) and not path.exists():
        return named
    if not path.is_file():
        raise typer.BadParameter(f"{named} is neither a file here nor the id of one on the server", param_hint="--data")
    with path.open("rb") as stream:
        sent = client.call("POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": (path.name, stream)})
    say(f"{named} is {sent['id']}" + (f"; {sent['status_details']}" if sent["status_details"] else ""))
    return str(sent["id"])


def _pairs(flag: str, given: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    for each in given or ():
        key, sign, value = each.partition("=")
        if not sign:
            raise typer.BadParameter(f"{each!r} is not KEY=VALUE", param_hint=flag)
        yield key, value


def _value(text: str) -> Any:
    """A number, true, a list: whatever is JSON; all else is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _act(job_id: str, action: str, server: str | None, *, json_: bool) -> None:
    _print(_client(server).call("POST", f"{_JOBS}/{job_id}/{action}"), json_=json_)


def _follow(client: Client, job_id: str, *, json_: bool) -> None:
    for event in client.events(f"{_JOBS}/{job_id}/events"):
        _print_event(event, json_=json_)
    job = client.call("GET", f"{_JOBS}/{job_id}")
    if not json_:
        _print(job, json_=False)
    if job["status"] != "succeeded":
        raise typer.Exit(FAILED)


def _print_event(event: dict[str, Any], *, json_: bool) -> None:
    if json_:
        emit_json(event, indent=None)
    else:
        out().print(event["message"], markup=False)


def _print(job: dict[str, Any], *, json_: bool) -> None:
    if json_:
        emit_json(job)
        return
    console = out()
    console.print(f"{job['id']}  {job['status']}", markup=False)
    error = job["error"]
    facts = {
        "model": job["model"],
        "gives": job["fine_tuned_model"],
        "progress": _progress(job),
        "tokens": None if job["trained_tokens"] is None else f"{job['trained_tokens']:,}",
        "error": None if error is None else f"{error['code']}: {error['message']}",
    }
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<8} {value}", markup=False)


def _progress(job: dict[str, Any]) -> str:
    if job["queue_position"] is not None:
        return f"number {job['queue_position']} in the queue"
    progress = job["progress"]
    if progress is None:
        return ""
    steps = f"step {progress['step']} of {progress['total_steps'] or '?'}"
    eta = progress["eta_seconds"]
    return steps if eta is None else f"{steps}, {duration(eta)} left"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
