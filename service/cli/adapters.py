"""`lorad adapters`: what is in the registry, in and out of it, and which version an alias means."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from service.cli.adapter_life import app, catalog_of, say_json_or, tag_text
from service.cli.catalog import Query
from service.cli.catalogs import open_catalog
from service.cli.console import emit_json, out, size_text
from service.cli.export import ExportDType, export_model
from service.cli.options import BaseModelName, Device, Json, Server, settings

__all__ = ["app"]

Name = Annotated[str, typer.Argument(help="Adapter name.")]
Reference = Annotated[str, typer.Argument(help="name, name:N or name@alias.")]


@app.command("list")
def list_adapters(
    tag: Annotated[list[str] | None, typer.Option(help="KEY or KEY=VALUE; repeatable.")] = None,
    base: Annotated[str | None, typer.Option(help="Name or digest of the base.")] = None,
    text: Annotated[str | None, typer.Option(help="A part of a name or tag.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="For example 'valid_loss<1.2'; repeatable.")] = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """List adapters with their newest versions; those only of which one version fulfils all that is asked for."""
    rows = catalog_of(server).adapters(Query(tags=tag or (), base=base, text=text, metrics=metric or ()))
    if json_:
        emit_json(rows)
        return
    table = Table("adapter", "versions", "rank", "size", "base", "aliases", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        latest = row["latest"]
        aliases = ", ".join(f"{alias} -> {number}" for alias, number in sorted(row["aliases"].items()))
        size = size_text(latest["size_bytes"])
        table.add_row(row["name"], str(row["num_versions"]), str(latest["rank"]), size, latest["base_name"], aliases)
    out().print(table)


@app.command("show")
def show(
    name: Name,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Also what jobs have published so far.")] = False,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Show every version of an adapter, newest first."""
    versions = catalog_of(server).versions(name, checkpoints=checkpoints)
    if json_:
        emit_json(versions)
        return
    for version in versions:
        _print_version(version)


@app.command("import")
def import_folder(
    source: Annotated[Path, typer.Argument(help="A PEFT adapter folder, or an archive of export --format archive.")],
    name: Annotated[str | None, typer.Option(help="Name in the registry; an archive says its own.")] = None,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Take an archive that nobody in LORAD_TRUSTED_KEYS has signed.")
    ] = False,
    base_model: BaseModelName = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Check an adapter against the base and publish it as the next version of a name."""
    catalog = catalog_of(server, base_model)
    if source.is_file():
        version = catalog.import_archive(source, name, allow_unsigned=allow_unsigned)
    elif name is None:
        raise typer.BadParameter("--name is needed: a folder does not say what it is called")
    else:
        version = catalog.import_folder(source, name)
    if json_:
        emit_json(version)
    else:
        _print_version(version)


@app.command("export")
def export(
    reference: Reference,
    output: Annotated[Path, typer.Option(help="Folder to make; peft also takes a .tar.gz file, gguf needs a file.")],
    format_: Annotated[
        Literal["peft", "archive", "merged", "gguf"],
        typer.Option(
            "--format",
            help="The adapter alone; a signed archive with all that the registry knows of it; or a whole model: a "
            "transformers folder, a llama.cpp file.",
        ),
    ] = "peft",
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Write an archive without a key to sign it with.")
    ] = False,
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
    if format_ in ("merged", "gguf"):
        result = export_model(catalog, reference, output, format_, dtype, chosen)
        say_json_or(result, f"{output}: {result['summary']}", json_=json_)
        return
    if dtype is not None:
        raise typer.BadParameter("--dtype goes with --format merged or gguf: an adapter alone is exported as it is")
    if format_ == "archive":
        catalog.export_archive(reference, output, allow_unsigned=allow_unsigned)
    else:
        catalog.export(reference, output)
    say_json_or({"reference": reference, "output": str(output)}, str(output), json_=json_)


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
    catalog_of(server).delete(reference)
    say_json_or({"id": reference, "deleted": True}, f"{reference} is deleted", json_=json_)


def _print_version(version: dict[str, Any]) -> None:
    console = out()
    step = version["checkpoint_step"]
    which = version["number"] if step is None else f"ckpt-step-{step}"
    console.print(f"{version['name']}:{which}  {version['digest']}", markup=False)
    facts = {
        "base": f"{version['base_name']} ({version['base_digest']})",
        "rank": version["rank"],
        "size": f"{version['size_bytes']:,} bytes",
        "created": f"{version['created_at']} ({version['source']})",
        "job": version["job_id"] or "none",
        "aliases": ", ".join(version["aliases"]) or "none",
        "tags": ", ".join(tag_text(key, value) for key, value in version["tags"].items()) or "none",
        "metrics": "  ".join(f"{name} {value:.4g}" for name, value in version["metrics"].items()) or "none",
    }
    for name, value in facts.items():
        console.print(f"  {name:<8} {value}", markup=False)
