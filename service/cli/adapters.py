"""`lorad adapters`: what is in the registry, in and out of it, and which version an alias means."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from service.cli.catalog import Catalog, open_catalog
from service.cli.console import emit_json, gibibytes, out
from service.cli.export import ExportDType, export_model
from service.cli.options import BaseModelName, Device, Json, Server, settings

app = typer.Typer(help="List, import, export and name adapters.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Adapter name.")]
Reference = Annotated[str, typer.Argument(help="name, name:N or name@alias.")]
Reason = Annotated[str, typer.Option(help="Kept in the alias's history.")]


@app.command("list")
def list_adapters(server: Server = None, json_: Json = False) -> None:
    """List adapters with their newest versions."""
    rows = _catalog(server).adapters()
    if json_:
        emit_json(rows)
        return
    table = Table("adapter", "versions", "rank", "size", "base", "aliases", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        latest = row["latest"]
        aliases = ", ".join(f"{alias} -> {number}" for alias, number in sorted(row["aliases"].items()))
        size = gibibytes(latest["size_bytes"])
        table.add_row(row["name"], str(row["num_versions"]), str(latest["rank"]), size, latest["base_name"], aliases)
    out().print(table)


@app.command("show")
def show(name: Name, server: Server = None, json_: Json = False) -> None:
    """Show every version of an adapter, newest first."""
    versions = _catalog(server).versions(name)
    if json_:
        emit_json(versions)
        return
    for version in versions:
        _print_version(version)


@app.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="A PEFT adapter folder.")],
    name: Annotated[str, typer.Option(help="Name in the registry.")],
    base_model: BaseModelName = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Check an adapter folder against the base and publish it as the next version of a name."""
    version = _catalog(server, base_model).import_folder(folder, name)
    if json_:
        emit_json(version)
    else:
        _print_version(version)


@app.command("export")
def export(
    reference: Reference,
    output: Annotated[Path, typer.Option(help="Folder to make; peft also takes a .tar.gz file, gguf needs a file.")],
    format_: Annotated[
        Literal["peft", "merged", "gguf"],
        typer.Option("--format", help="The adapter alone, or a whole model: a transformers folder, a llama.cpp file."),
    ] = "peft",
    dtype: ExportDType = None,
    base_model: BaseModelName = None,
    device: Device = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Write a version as a PEFT folder or archive, or as a whole model with the adapter in its weights.

    A whole model is made from the base's original weights, loaded again and compared with base and adapter: the same
    greedy tokens and nearly the same logits, or nothing is left behind.
    """
    chosen = settings(server=server, base_model=base_model, device=device)
    catalog = open_catalog(chosen)
    if format_ != "peft":
        result = export_model(catalog, reference, output, format_, dtype, chosen)
        _say(result, f"{output}: {result['summary']}", json_=json_)
        return
    if dtype is not None:
        raise typer.BadParameter("--dtype goes with --format merged or gguf: an adapter alone is exported as it is")
    catalog.export(reference, output)
    _say({"reference": reference, "output": str(output)}, str(output), json_=json_)


@app.command("alias")
def alias(
    reference: Reference,
    alias: Annotated[str, typer.Argument(help="For example prod; requests then use name@prod.")],
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias instead.")] = False,
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Let an alias mean a version, or remove it."""
    catalog = _catalog(server)
    if delete:
        catalog.delete_alias(reference, alias)
        _say({"id": f"{reference}@{alias}", "deleted": True}, f"{reference}@{alias} is gone", json_=json_)
        return
    version = catalog.set_alias(reference, alias, reason)
    _say(version, f"{version['name']}@{alias} -> {version['name']}:{version['number']}", json_=json_)


@app.command("rollback")
def rollback(
    name: Name,
    alias: Annotated[str, typer.Option(help="The alias to take back.")],
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Take an alias back to what it meant before its last move."""
    version = _catalog(server).rollback(name, alias, reason)
    _say(version, f"{name}@{alias} -> {name}:{version['number']}", json_=json_)


@app.command("delete")
def delete(
    reference: Annotated[str, typer.Argument(help="name for all versions, or name:N for one.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Delete a version, or an adapter with all its versions and aliases."""
    if not yes:
        typer.confirm(f"delete {reference}?", abort=True, err=True)
    _catalog(server).delete(reference)
    _say({"id": reference, "deleted": True}, f"{reference} is deleted", json_=json_)


def _catalog(server: str | None, base_model: str | None = None) -> Catalog:
    return open_catalog(settings(server=server, base_model=base_model))


def _say(value: dict[str, Any], text: str, *, json_: bool) -> None:
    if json_:
        emit_json(value)
    else:
        out().print(text, markup=False)


def _print_version(version: dict[str, Any]) -> None:
    console = out()
    console.print(f"{version['name']}:{version['number']}  {version['digest']}", markup=False)
    facts = {
        "base": f"{version['base_name']} ({version['base_digest']})",
        "rank": version["rank"],
        "size": f"{version['size_bytes']:,} bytes",
        "created": f"{version['created_at']} ({version['source']})",
        "aliases": ", ".join(version["aliases"]) or "none",
        "metrics": "  ".join(f"{name} {value:.4g}" for name, value in version["metrics"].items()) or "none",
    }
    for name, value in facts.items():
        console.print(f"  {name:<8} {value}", markup=False)
