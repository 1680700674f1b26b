"""The registry of `LORAD_HOME`, as `lorad adapters` sees it."""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import pins
from adapters.aliases import Move
from adapters.archive import pack
from adapters.errors import InvalidNameError
from adapters.lineage import lineage
from adapters.registry import Registry
from adapters.retention import Retention, prune, set_keep
from adapters.search import MetricCondition, Search, find
from adapters.version import Change, Version
from evaluation.runs.runs import Runs
from service.actor import local_actor
from service.cli.catalog import Json, Query
from service.cli.exported import name_or_number, require_folder, write_archive, write_export
from service.evaluation.versions import evaluations_of
from service.settings import Settings

if TYPE_CHECKING:
    from adapters.publication import Submission

_PAGE = 1000


class LocalCatalog:
    """Works on the registry in this process."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._tenant = settings.tenant

    def adapters(self, query: Query | None = None) -> list[Json]:
        """See `Catalog`."""
        found: list[Json] = []
        has_more, after = True, None
        while has_more:
            page = find(self._registry, self._tenant, _search(query or Query()), _PAGE, after)
            for each in page.data:
                adapter = each.adapter
                found.append(
                    {
                        "name": adapter.name,
                        "num_versions": adapter.num_versions,
                        "aliases": dict(adapter.aliases),
                        "latest": _version_json(adapter.latest),
                        "keep_versions": adapter.keep_versions,
                        "matches": [version.number for version in each.matches],
                    }
                )
            has_more, after = page.has_more, found[-1]["name"] if found else None
        return found

    def versions(self, name: str, *, checkpoints: bool = False) -> list[Json]:
        """See `Catalog`."""
        versions = self._registry.versions(self._tenant, name)
        if checkpoints:
            versions += self._registry.checkpoints(self._tenant, name)
        return [_version_json(version) for version in versions]

    def history(self, name: str, limit: int) -> list[Json]:
        """See `Catalog`."""
        events = self._registry.history(self._tenant, name, limit=limit)
        return [{**asdict(event), "at": event.at.isoformat()} for event in events]

    def lineage(self, reference: str) -> Json:
        """See `Catalog`."""
        found = lineage(self._registry, self._tenant, reference)
        version = found.version
        return {
            "id": str(version.reference),
            "digest": version.digest,
            "base_digest": version.base_digest,
            "data_digest": version.data_digest,
            "data": [dict(file) for file in found.data],
            "job_id": version.job_id,
            "ancestors": [
                {
                    "name": ancestor.name,
                    "digest": ancestor.digest,
                    "id": None if ancestor.version is None else str(ancestor.version.reference),
                    "job_id": None if ancestor.version is None else ancestor.version.job_id,
                    "data_digest": None if ancestor.version is None else ancestor.version.data_digest,
                }
                for ancestor in found.ancestors
            ],
            "evaluations": [
                {
                    "evaluation": each.run_id,
                    "suite": each.suite,
                    "suite_digest": each.suite_digest,
                    "num_cases": each.num_cases,
                    "finished_at": each.finished_at.isoformat(),
                    "metrics": dict(each.metrics),
                }
                for each in evaluations_of(Runs(self._registry.database), self._tenant, version.digest)
            ],
        }

    def import_folder(self, folder: Path, name: str) -> Json:
        """See `Catalog`."""
        # torch is loaded here and not sooner: listing adapters must not wait for it.
        from adapters.publication import Submission

        require_folder(folder)
        return self._publish(
            Submission(tenant=self._tenant, name=name, folder=folder, source="import", change=_change())
        )

    def import_archive(self, archive: Path, name: str | None, *, allow_unsigned: bool) -> Json:
        """See `Catalog`."""
        from adapters.transfer import received
        from service.registry.signing import trust

        with archive.open("rb") as file, received(self._registry, file, trust(self._settings, allow_unsigned)) as found:
            return self._publish(found.submission(self._tenant, name, _change()))

    def export(self, reference: str, output: Path) -> None:
        """See `Catalog`."""
        archive = io.BytesIO()
        pack(self._registry.resolve(self._tenant, reference), archive)
        write_export(archive.getvalue(), output)

    def export_archive(self, reference: str, output: Path, *, allow_unsigned: bool) -> None:
        """See `Catalog`."""
        from adapters.transfer import export
        from service.registry.signing import signing_key

        key = signing_key(self._settings, required=not allow_unsigned)
        with write_archive(output) as file:
            export(self._registry, self._tenant, reference, file, key)

    def promote(self, reference: str, aliases: Mapping[str, int | None], reason: str) -> list[Json]:
        """See `Catalog`."""
        version = self._registry.resolve(self._tenant, reference)
        number = _numbered(version)
        moves = [Move(alias=alias, number=number, expected=expected) for alias, expected in aliases.items()]
        moved = self._registry.promote(self._tenant, version.name, moves, _change(reason))
        return [_version_json(each) for each in moved]

    def delete_alias(self, name: str, alias: str) -> None:
        """See `Catalog`."""
        self._registry.delete_alias(self._tenant, name, alias, _change())

    def rollback(self, name: str, alias: str, reason: str) -> Json:
        """See `Catalog`."""
        return _version_json(self._registry.rollback(self._tenant, name, alias, _change(reason)))

    def delete(self, reference: str) -> None:
        """See `Catalog`."""
        parsed = name_or_number(reference)
        self._registry.delete(self._tenant, parsed.name, parsed.number, _change())

    def tag(self, reference: str, tags: Mapping[str, str | None], reason: str) -> Json:
        """See `Catalog`."""
        from adapters.tags import remove_tag, set_tags

        version = self._registry.resolve(self._tenant, reference)
        target = (self._registry, self._tenant, version.name, _numbered(version))
        for key in (key for key, value in tags.items() if value is None):
            version = remove_tag(*target, key, _change(reason))
        given = {key: value for key, value in tags.items() if value is not None}
        return _version_json(set_tags(*target, given, _change(reason)) if given else version)

    def pin(self, reference: str, reason: str) -> Json:
        """See `Catalog`."""
        version = self._registry.resolve(self._tenant, reference)
        _numbered(version)
        return _version_json(pins.pin(self._registry, self._tenant, version.reference, _change(reason)))

    def unpin(self, reference: str) -> list[str]:
        """See `Catalog`."""
        parsed = name_or_number(reference)
        unpinned = pins.unpin(self._registry, self._tenant, parsed.name, parsed.number, _change())
        return [str(version.reference) for version in unpinned]

    def keep(self, name: str, count: int | None, reason: str) -> None:
        """See `Catalog`."""
        set_keep(self._registry, self._tenant, name, count, _change(reason))

    def prune(self, name: str, count: int | None, *, checkpoints: bool, dry_run: bool) -> list[str]:
        """See `Catalog`."""
        wanted = Retention(default=self._settings.keep_versions, keep=count, checkpoints=checkpoints, dry_run=dry_run)
        gone = prune(self._registry, self._tenant, name, wanted, _change())
        return [str(version.reference) for version in gone]

    def _publish(self, submission: "Submission") -> Json:
        from service.registry.publication import base_facts, publish_bounded

        facts = base_facts(self._settings.base_model, self._settings)
        return _version_json(publish_bounded(self._registry, submission, facts, self._settings))


def _search(query: Query) -> Search:
    return Search(
        tags=tuple(query.tags),
        base=query.base,
        text=query.text,
        metrics=tuple(MetricCondition.parse(text) for text in query.metrics),
    )


def _numbered(version: Version) -> int:
    """The version's number.

    Raises:
        InvalidNameError: it is a checkpoint.
    """
    if version.number is None:
        raise InvalidNameError(
            f"{version.reference} is a checkpoint, which goes when a newer job comes: export it, then import it as a "
            "version"
        )
    return version.number


def _version_json(version: Version) -> Json:
    values = asdict(version)
    del values["path"], values["tenant"]
    return {**values, "created_at": version.created_at.isoformat(), "aliases": list(version.aliases)}


def _change(reason: str = "") -> Change:
    return Change(actor=local_actor(), reason=reason)
