"""`lorad suites`: the named sets of cases of this home, or of a running server."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from evaluation.suites.reader import read
from evaluation.suites.store import Suites
from service.api.schemas.suites import SuiteList, SuiteReply, SuiteWithCases
from service.cli.client import Client
from service.cli.console import emit_json, out
from service.cli.options import Json, Server, settings
from service.registry.opening import open_registry
from service.settings import Settings

app = typer.Typer(
    help="Keep, show and check suites: named sets of test cases.", no_args_is_help=True, rich_markup_mode=None
)

Reference = Annotated[str, typer.Argument(help="name, or name@sha256:… for one version.")]
SuiteFile = Annotated[
    Path, typer.Argument(help="YAML with the cases in it, or with the JSONL beside it that it names.", exists=True)
]
_SHOWN = 5


class LocalSuites:
    """Of `LORAD_HOME`.

    Args:
        chosen: name the home and the tenant.
    """

    def __init__(self, chosen: Settings) -> None:
        self._suites = Suites(open_registry(chosen).database)
        self._tenant = chosen.tenant

    def list(self, name: str | None) -> Any:
        """See `GET /suites`."""
        return SuiteList.of(self._suites.list(self._tenant, name)).model_dump(mode="json")["data"]

    def show(self, reference: str) -> Any:
        """See `GET /suites/{name}`."""
        return SuiteWithCases.of(self._suites.get(self._tenant, reference)).model_dump(mode="json")

    def add(self, path: Path) -> Any:
        """See `POST /suites`."""
        return SuiteReply.of(self._suites.add(self._tenant, read(path))).model_dump(mode="json")

    def delete(self, reference: str) -> Any:
        """See `DELETE /suites/{name}`."""
        return list(self._suites.delete(self._tenant, reference))


class RemoteSuites:
    """Of a server.

    Args:
        client: calls it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, name: str | None) -> Any:
        """See `GET /suites`."""
        return self._client.call("GET", "/suites", params=None if name is None else {"name": name})["data"]

    def show(self, reference: str) -> Any:
        """See `GET /suites/{name}`."""
        path, params = _named(reference)
        return self._client.call("GET", path, params=params)

    def add(self, path: Path) -> Any:
        """Checked here first, so that messages name this machine's files; see `POST /suites`."""
        return self._client.call("POST", "/suites", json=read(path).to_json())

    def delete(self, reference: str) -> Any:
        """See `DELETE /suites/{name}`."""
        path, params = _named(reference)
        return self._client.call("DELETE", path, params=params)["deleted"]


def _named(reference: str) -> tuple[str, dict[str, str] | None]:
    name, at, digest = reference.partition("@")
    return f"/suites/{name}", {"digest": digest} if at else None


@app.command("list")
def list_suites(
    name: Annotated[str | None, typer.Argument(help="All versions of this one, newest first.")] = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """List suites: the newest version of each, or all versions of one."""
    found = _suites(server).list(name)
    if json_:
        emit_json(found)
        return
    table = Table("suite", "version", "cases", "scorers", "tags", "description", box=None, padding=(0, 2, 0, 0))
    for each in found:
        facts = (", ".join(each["scorers"]), ", ".join(each["tags"]), each["description"])
        table.add_row(each["name"], _short(each["digest"]), str(each["num_cases"]), *facts)
    out().print(table)


@app.command("show")
def show(reference: Reference, server: Server = None, json_: Json = False) -> None:
    """Show one suite: its scorers, thresholds and first cases; with --json all of it."""
    found = _suites(server).show(reference)
    if json_:
        emit_json(found)
        return
    console = out()
    console.print(f"{found['name']}  {found['digest']}", markup=False)
    facts = {
        "about": found["description"],
        "scorers": ", ".join(found["scorers"]),
        "tags": ", ".join(found["tags"]),
        "demands": ", ".join(f"{metric} {value:g}" for metric, value in found["thresholds"].items()),
        "cases": str(found["num_cases"]),
    }
    for label, value in facts.items():
        if value:
            console.print(f"  {label:<8} {value}", markup=False)
    for number, case in enumerate(found["content"]["cases"][:_SHOWN]):
        console.print(f"  case {number:<3} {json.dumps(case, ensure_ascii=False)[:160]}", markup=False)


@app.command("add")
def add(path: SuiteFile, server: Server = None, json_: Json = False) -> None:
    """Make a file the newest version of the suite that it names."""
    added = _suites(server).add(path)
    if json_:
        emit_json(added)
    else:
        out().print(f"{added['name']}  {added['digest']}  {added['num_cases']} cases", markup=False)


@app.command("delete")
def delete(reference: Reference, server: Server = None, json_: Json = False) -> None:
    """Forget a suite, or one version of it; evaluations that used it stay."""
    deleted = _suites(server).delete(reference)
    if json_:
        emit_json({"deleted": deleted})
    else:
        out().print(f"deleted: {', '.join(map(_short, deleted))}", markup=False)


@app.command("check")
def check(path: SuiteFile, json_: Json = False) -> None:
    """Read a suite's files and say what is wrong, with the case's number and the field; keeps nothing."""
    suite = read(path)
    facts = {"name": suite.name, "digest": suite.digest, "num_cases": len(suite.cases)}
    if json_:
        emit_json(facts)
    else:
        out().print(f"{suite.name}: {len(suite.cases)} cases, {suite.digest}", markup=False)


def _suites(server: str | None) -> LocalSuites | RemoteSuites:
    chosen = settings(server=server)
    return RemoteSuites(Client(chosen.server, chosen.api_key)) if chosen.server else LocalSuites(chosen)


def _short(digest: str) -> str:
    return digest[:19]
