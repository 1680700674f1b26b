"""A running server's registry, as `lorad adapters` sees it."""

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.files import ADAPTER_FILES
from adapters.reference import Reference
from service.cli.catalog import Json, Query
from service.cli.client import Client
from service.cli.exported import name_or_number, require_folder, write_archive, write_export
from service.errors import SettingsError


class RemoteCatalog:
    """Works through a server's `/v1/adapters` routes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def adapters(self, query: Query | None = None) -> list[Json]:
        """See `Catalog`."""
        query = query or Query()
        wanted = {"tag": query.tags, "metric": query.metrics, "base": query.base, "text": query.text}
        parameters: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        found: list[Json] = []
        page = {"has_more": True}
        while page["has_more"]:
            page = self._client.call("GET", "/v1/adapters", params=parameters)
            found += page["data"]
            parameters["after"] = found[-1]["name"] if found else ""
        return found

    def versions(self, name: str, *, checkpoints: bool = False) -> list[Json]:
        """See `Catalog`."""
        parameters = {"checkpoints": checkpoints}
        found: list[Json] = self._client.call("GET", f"/v1/adapters/{name}/versions", params=parameters)["data"]
        return found

    def history(self, name: str, limit: int) -> list[Json]:
        """See `Catalog`."""
        found: list[Json] = self._client.call("GET", f"/v1/adapters/{name}/history", params={"limit": limit})["data"]
        return found

    def lineage(self, reference: str) -> Json:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        found: Json = self._client.call("GET", f"/v1/adapters/{name}/versions/{number}/lineage")
        return found

    def import_folder(self, folder: Path, name: str) -> Json:
        """See `Catalog`."""
        require_folder(folder)
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for part in ADAPTER_FILES:
                    if (folder / part).is_file():
                        archive.add(folder / part, arcname=part)
            file.seek(0)
            files = {"file": ("adapter.tar.gz", file, "application/gzip")}
            version: Json = self._client.call("POST", "/v1/adapters", data={"name": name}, files=files)
        return version

    def export(self, reference: str, output: Path) -> None:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        write_export(self._client.download(f"/v1/adapters/{name}/versions/{number}/download"), output)

    def import_archive(self, archive: Path, name: str | None, *, allow_unsigned: bool) -> Json:
        """See `Catalog`."""
        # An empty name stands for the archive's own.
        form, query = {"name": name or ""}, {"allow_unsigned": allow_unsigned}
        with archive.open("rb") as file:
            files = {"file": (archive.name, file, "application/gzip")}
            version: Json = self._client.call("POST", "/v1/adapters/import", data=form, params=query, files=files)
        return version

    def export_archive(self, reference: str, output: Path, *, allow_unsigned: bool) -> None:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        query = f"allow_unsigned={str(allow_unsigned).lower()}"
        with write_archive(output) as file:
            file.write(self._client.download(f"/v1/adapters/{name}/versions/{number}/archive?{query}"))

    def promote(self, reference: str, aliases: Mapping[str, int | None], reason: str) -> list[Json]:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        moves = [{"alias": alias, "version": number, "expected": expected} for alias, expected in aliases.items()]
        body = {"moves": moves, "reason": reason}
        moved: list[Json] = self._client.call("POST", f"/v1/adapters/{name}/promote", json=body)["data"]
        return moved

    def delete_alias(self, name: str, alias: str) -> None:
        """See `Catalog`."""
        self._client.call("DELETE", f"/v1/adapters/{name}/aliases/{alias}")

    def rollback(self, name: str, alias: str, reason: str) -> Json:
        """See `Catalog`."""
        body = {"alias": alias, "reason": reason}
        version: Json = self._client.call("POST", f"/v1/adapters/{name}/rollback", json=body)
        return version

    def delete(self, reference: str) -> None:
        """See `Catalog`."""
        parsed = name_or_number(reference)
        suffix = "" if parsed.number is None else f"/versions/{parsed.number}"
        self._client.call("DELETE", f"/v1/adapters/{parsed.name}{suffix}")

    def tag(self, reference: str, tags: Mapping[str, str | None], reason: str) -> Json:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        version: Json = self._client.call("GET", f"/v1/adapters/{name}/versions/{number}")
        for key, value in tags.items():
            path = f"/v1/adapters/{name}/versions/{number}/tags/{key}"
            if value is None:
                version = self._client.call("DELETE", path)
            else:
                version = self._client.call("PUT", path, json={"value": value, "reason": reason})
        return version

    def pin(self, reference: str, reason: str) -> Json:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        body = {"version": number, "reason": reason}
        version: Json = self._client.call("PUT", f"/v1/adapters/{name}/pin", json=body)
        return version

    def unpin(self, reference: str) -> list[str]:
        """See `Catalog`."""
        parsed = name_or_number(reference)
        parameters = {} if parsed.number is None else {"version": parsed.number}
        gone: list[str] = self._client.call("DELETE", f"/v1/adapters/{parsed.name}/pin", params=parameters)["unpinned"]
        return gone

    def keep(self, name: str, count: int | None, reason: str) -> None:
        """See `Catalog`."""
        self._client.call("PUT", f"/v1/adapters/{name}/retention", json={"keep": count, "reason": reason})

    def prune(self, name: str, count: int | None, *, checkpoints: bool, dry_run: bool) -> list[str]:
        """See `Catalog`."""
        body = {"keep": count, "checkpoints": checkpoints, "dry_run": dry_run}
        gone: list[str] = self._client.call("POST", f"/v1/adapters/{name}/prune", json=body)["deleted"]
        return gone

    def _pinned(self, reference: str) -> tuple[str, int]:
        parsed = Reference.parse(reference)
        if parsed.number is not None:
            return parsed.name, parsed.number
        adapter = self._client.call("GET", f"/v1/adapters/{parsed.name}")
        if parsed.alias is None:
            return parsed.name, int(adapter["latest"]["number"])
        if parsed.alias not in adapter["aliases"]:
            raise SettingsError(f"adapter {parsed.name!r} has no alias {parsed.alias!r}: {sorted(adapter['aliases'])}")
        return parsed.name, int(adapter["aliases"][parsed.alias])
