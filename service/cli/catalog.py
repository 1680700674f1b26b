"""The registry as `lorad adapters` sees it: in this process's home, or on a running server."""

import io
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from adapters.archive import pack, unpack
from adapters.errors import InvalidAdapterError
from adapters.files import ADAPTER_FILES
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.version import Change, Version
from service.cli.client import Client
from service.cli.console import say
from service.errors import SettingsError
from service.registry import open_registry
from service.settings import Settings
from storage.durable import staged_folder

Json = dict[str, Any]


class Catalog(Protocol):
    """What the commands need; versions and adapters are JSON objects as the HTTP routes give them."""

    def adapters(self) -> list[Json]:
        """Every adapter with its newest version."""

    def versions(self, name: str) -> list[Json]:
        """An adapter's versions, newest first."""

    def import_folder(self, folder: Path, name: str) -> Json:
        """Publishes a PEFT folder; gives the version."""

    def export(self, reference: str, output: Path) -> None:
        """Writes a version to a folder, or to an archive when `output` ends in .tar.gz."""

    def set_alias(self, reference: str, alias: str, reason: str) -> Json:
        """Moves an alias; gives the version it means now."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Removes an alias."""

    def rollback(self, name: str, alias: str, reason: str) -> Json:
        """Takes an alias back; gives the version it means now."""

    def delete(self, reference: str) -> None:
        """Removes a version (`name:N`) or an adapter (`name`)."""


def open_catalog(settings: Settings) -> Catalog:
    """The server's where the settings name one, else that of `LORAD_HOME`."""
    if settings.server:
        return RemoteCatalog(Client(settings.server, settings.api_key))
    return LocalCatalog(open_registry(settings), settings)


class LocalCatalog:
    """Works on the registry in this process."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._tenant = settings.tenant

    def adapters(self) -> list[Json]:
        """See `Catalog`."""
        return [
            {
                "name": adapter.name,
                "num_versions": adapter.num_versions,
                "aliases": dict(adapter.aliases),
                "latest": _version_json(adapter.latest),
            }
            for adapter in self._registry.adapters(self._tenant)
        ]

    def versions(self, name: str) -> list[Json]:
        """See `Catalog`."""
        return [_version_json(version) for version in self._registry.versions(self._tenant, name)]

    def import_folder(self, folder: Path, name: str) -> Json:
        """See `Catalog`."""
        # torch is loaded here and not sooner: listing adapters must not wait for it.
        from adapters.base_facts import BaseFacts
        from adapters.publication import Submission
        from base.digest import base_digest
        from base.shapes import linear_shapes
        from base.source import locate
        from service.publication import publish_bounded

        _require_folder(folder)
        source = locate(self._settings.base_model, self._settings.bases, say)
        facts = BaseFacts(
            name=source.name, digest=base_digest(source.folder), linear_shapes=linear_shapes(source.folder)
        )
        submission = Submission(tenant=self._tenant, name=name, folder=folder, source="import")
        return _version_json(publish_bounded(self._registry, submission, facts, self._settings))

    def export(self, reference: str, output: Path) -> None:
        """See `Catalog`."""
        archive = io.BytesIO()
        pack(self._registry.resolve(self._tenant, reference), archive)
        _write_export(archive.getvalue(), output)

    def set_alias(self, reference: str, alias: str, reason: str) -> Json:
        """See `Catalog`."""
        return _version_json(self._registry.set_alias(self._tenant, reference, alias, _change(reason)))

    def delete_alias(self, name: str, alias: str) -> None:
        """See `Catalog`."""
        self._registry.delete_alias(self._tenant, name, alias)

    def rollback(self, name: str, alias: str, reason: str) -> Json:
        """See `Catalog`."""
        return _version_json(self._registry.rollback(self._tenant, name, alias, _change(reason)))

    def delete(self, reference: str) -> None:
        """See `Catalog`."""
        parsed = _name_or_number(reference)
        self._registry.delete(self._tenant, parsed.name, parsed.number)


class RemoteCatalog:
    """Works through a server's `/v1/adapters` routes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def adapters(self) -> list[Json]:
        """See `Catalog`."""
        found: list[Json] = self._client.call("GET", "/v1/adapters")["data"]
        return found

    def versions(self, name: str) -> list[Json]:
        """See `Catalog`."""
        found: list[Json] = self._client.call("GET", f"/v1/adapters/{name}/versions")["data"]
        return found

    def import_folder(self, folder: Path, name: str) -> Json:
        """See `Catalog`."""
        _require_folder(folder)
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
        _write_export(self._client.download(f"/v1/adapters/{name}/versions/{number}/download"), output)

    def set_alias(self, reference: str, alias: str, reason: str) -> Json:
        """See `Catalog`."""
        name, number = self._pinned(reference)
        body = {"version": number, "reason": reason}
        version: Json = self._client.call("PUT", f"/v1/adapters/{name}/aliases/{alias}", json=body)
        return version

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
        parsed = _name_or_number(reference)
        suffix = "" if parsed.number is None else f"/versions/{parsed.number}"
        self._client.call("DELETE", f"/v1/adapters/{parsed.name}{suffix}")

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


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InvalidAdapterError(f"{folder} is no folder; name one that holds adapter_config.json and its weights")


def _version_json(version: Version) -> Json:
    values = asdict(version)
    del values["path"], values["tenant"]
    return {**values, "created_at": version.created_at.isoformat(), "aliases": list(version.aliases)}


def _change(reason: str) -> Change:
    return Change(actor="command line", reason=reason)


def _name_or_number(reference: str) -> Reference:
    parsed = Reference.parse(reference)
    if parsed.alias is not None or parsed.checkpoint_step is not None:
        raise SettingsError(f"{reference!r}: deleting takes a name or name:N; remove an alias with alias --delete")
    return parsed


def _write_export(archive: bytes, output: Path) -> None:
    if output.exists():
        raise SettingsError(f"--output {output} exists; name another or remove it")
    if output.name.endswith(".tar.gz"):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(archive)
        return
    with staged_folder(output) as staged:
        unpack(io.BytesIO(archive), staged)
