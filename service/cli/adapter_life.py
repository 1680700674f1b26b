"""`lorad adapters`, second half: what happens to versions once they are there."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.catalog import Catalog
from service.cli.catalogs import open_catalog
from service.cli.console import emit_json, out
from service.cli.options import Json, Server, settings

app = typer.Typer(
    help="List, import, export, name, tag, pin and prune adapters.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Adapter name.")]
Reference = Annotated[str, typer.Argument(help="name, name:N or name@alias.")]
Reason = Annotated[str, typer.Option(help="Kept in the adapter's history.")]


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
    catalog = catalog_of(server)
    if delete:
        catalog.delete_alias(reference, alias)
        say_json_or({"id": f"{reference}@{alias}", "deleted": True}, f"{reference}@{alias} is gone", json_=json_)
        return
    [version] = catalog.promote(reference, {alias: None}, reason)
    say_json_or(version, f"{version['name']}@{alias} -> {version['name']}:{version['number']}", json_=json_)


@app.command("rollback")
def rollback(
    name: Name,
    alias: Annotated[str, typer.Option(help="The alias to take back.")],
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Take an alias back to what it meant before its last move."""
    version = catalog_of(server).rollback(name, alias, reason)
    say_json_or(version, f"{name}@{alias} -> {name}:{version['number']}", json_=json_)


@app.command("promote")
def promote(
    reference: Reference,
    aliases: Annotated[list[str], typer.Argument(help="Aliases that are to mean it, moved together or not at all.")],
    expected: Annotated[
        list[str] | None,
        typer.Option(help="ALIAS=N: only if it means version N now; ALIAS=0: only if it does not exist. Repeatable."),
    ] = None,
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Let aliases mean a version, if they still mean what you think they do."""
    wanted: dict[str, int | None] = dict.fromkeys(aliases)
    for alias, number in _pairs(expected or [], "--expected").items():
        if alias not in wanted or number is None or not number.isdecimal():
            raise typer.BadParameter(f"--expected {alias}={number}: give one of {', '.join(wanted)} and a version")
        wanted[alias] = int(number)
    versions = catalog_of(server).promote(reference, wanted, reason)
    if json_:
        emit_json(versions)
        return
    for alias, version in zip(wanted, versions, strict=True):
        out().print(f"{version['name']}@{alias} -> {version['name']}:{version['number']}", markup=False)


@app.command("history")
def history(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many events, the newest.")] = 50,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Show who did what to an adapter, when, why and from which job, newest first."""
    events = catalog_of(server).history(name, limit)
    if json_:
        emit_json(events)
        return
    table = Table("when", "what", "version", "who", "job", "why", box=None, padding=(0, 2, 0, 0))
    for event in events:
        what = event["kind"] if event["alias"] is None else f"{event['kind']} @{event['alias']}"
        moved = f"{event['from_number']} -> {event['number']}" if event["alias"] else str(event["number"] or "")
        table.add_row(event["at"][:19], what, moved, event["actor"], event["job_id"] or "", event["reason"])
    out().print(table)


@app.command("lineage")
def lineage(reference: Reference, server: Server = None, json_: Json = False) -> None:
    """Show what a version was made from and what was measured: data, job, the versions before it, evaluations."""
    found = catalog_of(server).lineage(reference)
    if json_:
        emit_json(found)
        return
    console = out()
    console.print(f"{found['id']}  {found['digest']}", markup=False)
    console.print(f"  job   {found['job_id'] or 'none'}", markup=False)
    console.print(f"  data  {found['data_digest'] or 'unknown'}", markup=False)
    for file in found["data"]:
        console.print(f"        {file.get('path', '')} {file.get('digest', '')}", markup=False)
    for ancestor in found["ancestors"]:
        known = ancestor["id"] or "no longer here"
        console.print(f"  from  {ancestor['name']}  {ancestor['digest']} ({known})", markup=False)
    for each in found["evaluations"]:
        metrics = ", ".join(
            f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in each["metrics"].items()
        )
        cases = f"{each['num_cases']} cases of {each['suite'] or 'no name'}"
        console.print(f"  eval  {each['evaluation']}  {cases}: {metrics}", markup=False)


@app.command("tag")
def tag(
    reference: Reference,
    tags: Annotated[list[str] | None, typer.Argument(help="KEY or KEY=VALUE.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A key to remove; repeatable.")] = None,
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Set or remove tags of a version; lorad adapters list --tag finds them."""
    given: dict[str, str | None] = {key: value or "" for key, value in _pairs(tags or [], "tag").items()}
    version = catalog_of(server).tag(reference, {**dict.fromkeys(remove or []), **given}, reason)
    shown = ", ".join(tag_text(key, value) for key, value in version["tags"].items()) or "none"
    say_json_or(version, f"{version['name']}:{version['number']} tags: {shown}", json_=json_)


@app.command("pin")
def pin(reference: Reference, reason: Reason = "", server: Server = None, json_: Json = False) -> None:
    """Keep a version loaded: on a server at once, and by every server when it starts."""
    version = catalog_of(server).pin(reference, reason)
    say_json_or(version, f"{version['name']}:{version['number']} is loaded whenever a server starts", json_=json_)


@app.command("unpin")
def unpin(
    reference: Annotated[str, typer.Argument(help="name for all versions, or name:N for one.")],
    server: Server = None,
    json_: Json = False,
) -> None:
    """Take the pin off a version."""
    unpinned = catalog_of(server).unpin(reference)
    say_json_or({"unpinned": unpinned}, f"unpinned: {', '.join(unpinned) or 'none'}", json_=json_)


@app.command("keep")
def keep(
    name: Name,
    count: Annotated[int | None, typer.Argument(min=1, help="Default: as LORAD_KEEP_VERSIONS says.")] = None,
    reason: Reason = "",
    server: Server = None,
    json_: Json = False,
) -> None:
    """Set how many of an adapter's newest versions are kept after a publication."""
    catalog_of(server).keep(name, count, reason)
    shown = "as the settings say" if count is None else f"the newest {count}"
    say_json_or({"name": name, "keep": count}, f"{name}: versions are kept {shown}", json_=json_)


@app.command("prune")
def prune(
    name: Annotated[str | None, typer.Argument(help="Adapter name; default all adapters.")] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Newest versions to keep, this once.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Delete checkpoints too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Delete old versions, save those that an alias, a pin or a running answer needs."""
    catalog = catalog_of(server)
    names = [name] if name is not None else [adapter["name"] for adapter in catalog.adapters()]
    gone = [each for one in names for each in catalog.prune(one, keep, checkpoints=checkpoints, dry_run=dry_run)]
    said = "would be deleted" if dry_run else "deleted"
    say_json_or({"deleted": gone, "dry_run": dry_run}, f"{said}: {', '.join(gone) or 'none'}", json_=json_)


def catalog_of(server: str | None, base_model: str | None = None) -> Catalog:
    """What the commands work on."""
    return open_catalog(settings(server=server, base_model=base_model))


def say_json_or(value: Mapping[str, Any], text: str, *, json_: bool) -> None:
    """One result, for programs or for people."""
    if json_:
        emit_json(value)
    else:
        out().print(text, markup=False)


def tag_text(key: str, value: str) -> str:
    """A tag as it is written."""
    return f"{key}={value}" if value else key


def _pairs(texts: list[str], what: str) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if key in pairs:
            raise typer.BadParameter(f"{what} {key} is given twice")
        pairs[key] = value if equals else None
    return pairs
