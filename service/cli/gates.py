"""`lorad gates`: aliases that move when a candidate is shown to be better."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from adapters.reference import Reference
from evaluation.errors import GateError
from evaluation.gate.text import EXAMPLE
from service.cli.console import FAILED, emit_json, out
from service.cli.gate_book import open_gates
from service.cli.options import BaseModelName, Device, DType, Json, Quantization, Server, settings

app = typer.Typer(
    help="Let an alias move only to what is shown to be better.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Adapter name; it need not exist yet.")]
Alias = Annotated[str, typer.Argument(help="For example prod.")]


@app.command("set")
def set_gate(
    name: Name,
    alias: Alias,
    policy: Annotated[str | None, typer.Option(help=f"For example: {EXAMPLE}")] = None,
    file: Annotated[
        Path | None, typer.Option(help="The policy in a file instead: its text, or YAML or JSON of the same.")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(help="A suite to run; repeatable.")] = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Put a policy on an alias, in the place of one that is there."""
    if (policy is None) == (file is None):
        raise typer.BadParameter("give either --policy or --file")
    asked = policy if file is None else _read(file)
    assert asked is not None
    _print(open_gates(settings(server=server)).set(name, alias, asked, suite or ()), json_=json_)


@app.command("list")
def list_gates(name: Name, server: Server = None, json_: Json = False) -> None:
    """List the gates on an adapter's aliases."""
    gates = open_gates(settings(server=server)).list(name)
    if json_:
        emit_json(gates)
        return
    table = Table("gate", "policy", "suites", box=None, padding=(0, 2, 0, 0))
    for gate in gates:
        table.add_row(f"{gate['adapter']}@{gate['alias']}", gate["policy"], ", ".join(gate["suites"]))
    out().print(table)


@app.command("show")
def show(name: Name, alias: Alias, server: Server = None, json_: Json = False) -> None:
    """Show one gate."""
    _print(open_gates(settings(server=server)).show(name, alias), json_=json_)


@app.command("delete")
def delete(name: Name, alias: Alias, server: Server = None, json_: Json = False) -> None:
    """Take the gate off an alias; the alias stays where it is."""
    open_gates(settings(server=server)).delete(name, alias)
    if json_:
        emit_json({"id": f"{name}@{alias}", "deleted": True})
    else:
        out().print(f"{name}@{alias} has no gate any more", markup=False)


@app.command("run")
def run(
    reference: Annotated[str, typer.Argument(help="The candidate: name, name:N or name@alias.")],
    alias: Alias,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Put a version before a gate. The exit code is 0 where the alias has moved, 1 where it stays."""
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    check = open_gates(chosen).run(Reference.parse(reference), alias)
    print_check(check, json_=json_)
    if check["status"] != "promoted":
        raise typer.Exit(FAILED)


@app.command("checks")
def checks(
    name: Name,
    alias: Alias,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The newest so many.")] = 20,
    server: Server = None,
    json_: Json = False,
) -> None:
    """List who came before a gate and how it ended, newest first."""
    found = open_gates(settings(server=server)).checks(name, alias, limit)
    if json_:
        emit_json(found)
        return
    table = Table("check", "candidate", "status", "why", box=None, padding=(0, 2, 0, 0))
    for check in found:
        table.add_row(check["id"], check["candidate"], check["status"], check["reason"] or "")
    out().print(table)


def print_check(check: Mapping[str, Any], *, json_: bool) -> None:
    """One check, for programs or for people."""
    if json_:
        emit_json(check)
        return
    console = out()
    console.print(f"{check['id']}  {check['status']}", markup=False)
    moved = f"{check['before'] or 'nothing'} -> {check['candidate']}"
    stays = f"stays at {check['before'] or 'nothing'}; {check['candidate']} was the candidate"
    console.print(
        f"  {check['adapter']}@{check['alias']}  {moved if check['status'] == 'promoted' else stays}", markup=False
    )
    for finding in check["findings"] or ():
        console.print(f"  {'holds' if finding['holds'] else 'FAILS'}  {_told(finding)}", markup=False)
    if not check["findings"]:
        console.print(f"  {check['reason']}", markup=False)
    for suite, run_id in check["evaluations"].items():
        console.print(f"  evaluation of {suite}: {run_id}", markup=False)


def _told(finding: Mapping[str, Any]) -> str:
    if finding["suite"] is None:
        return f"{finding['condition']}: nothing was measured for it"
    text = f"{finding['condition']}: {finding['metric']} {_figure(finding['candidate'])} on {finding['suite']}"
    text += f", {finding['against']} has {_figure(finding['current'])}" if finding["against"] else ""
    difference = finding.get("difference")
    if difference is None:
        return text
    low, high = _figure(difference["low"]), _figure(difference["high"])
    return f"{text} (95% interval of the difference {low} to {high}: {difference['verdict']})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _print(gate: Mapping[str, Any], *, json_: bool) -> None:
    if json_:
        emit_json(gate)
        return
    console = out()
    console.print(f"{gate['adapter']}@{gate['alias']}  {gate['policy']}", markup=False)
    console.print(f"  suites  {', '.join(gate['suites'])}", markup=False)


def _read(file: Path) -> str | Mapping[str, Any]:
    """A policy's file: a text is YAML too, namely a string."""
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise GateError(f"{file} is neither a policy's text nor YAML of one: {error}") from error
    if not isinstance(value, str | dict):
        raise GateError(f"{file} holds no policy; write, for example: {EXAMPLE}")
    return value
